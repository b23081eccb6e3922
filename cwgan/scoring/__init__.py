"""Scores, calibration and choices on validation classes."""
