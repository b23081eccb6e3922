"""Generalized zero-shot learning by feature generation: a cycle-consistent Wasserstein GAN over image features."""

__version__ = "0.1.0"
