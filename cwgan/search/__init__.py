"""The search for the best setting on validation classes."""
