"""The fast forms of what `cwgan.gan.losses` and `cwgan.gan.networks` define."""
