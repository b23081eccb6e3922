"""Data sets: what one is, where it comes from, and how it is scaled."""
