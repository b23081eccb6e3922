"""The GAN: networks, losses, training, synthesis and checkpoints."""
