"""Stages in MLflow runs: one, the whole road, and several roads side by side."""

from cwgan.command_line import STAGE_SECTIONS

SECTIONS = {
    "train_gan": STAGE_SECTIONS,
    "generate": ("data", "generate"),
    "train_cls": ("data", "classifier"),
}
"""The sections of the configuration that a stage of the road uses, which become parameters of its run."""
