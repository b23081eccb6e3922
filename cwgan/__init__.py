"""Generalized zero-shot learning by feature generation with a cycle-consistent Wasserstein GAN."""

__version__ = "0.1.0"
