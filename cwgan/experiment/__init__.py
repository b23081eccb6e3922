"""Stages in MLflow runs: one, the whole road, and several roads side by side."""
