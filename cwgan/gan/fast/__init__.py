"""The fast forms of what `cwgan.gan.training.losses` defines."""
