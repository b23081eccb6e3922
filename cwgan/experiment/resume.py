"""What an interrupted run was begun with, and what may differ when it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cwgan import tracking
from cwgan.command_line import Command, to_dict
from cwgan.config import Config
from cwgan.errors import InputError
from cwgan.layers import flatten, read_mapping

FREE = (
    *("run_name", "description", "metrics", "experiment", "register", "feature_map", "threads", "device"),
    *("data.path", "data.name", "data.attributes", "data.new_classes"),
    *("monitor.save.", "regressor.save.", "gan.save.", "classifier.save.", "classifier.store_scores"),
)
"""Beginnings of the names of parameters that may differ. The data's digest stands for its files."""


@dataclass(frozen=True)
class Begun:
    """An interrupted run: its nested configuration, the references it was given, and what it has done."""

    run_id: str
    config: Mapping[str, Any]
    references: Mapping[str, str]
    done: list[str]

    def check(self, config: Config) -> None:
        """Refuse to go on with another configuration, but for `FREE` parameters and more epochs of the GAN.

        A run that has gone beyond its first training has no use for more epochs.
        """
        before, now = flatten(self.config), flatten(to_dict(config))
        for name, value in now.items():
            if before.get(name, value) == value or name.startswith(FREE):
                continue
            allowed = f"{before[name]}, as run {self.run_id} was begun with"
            if name == "gan.epochs" and not self.done:
                if value > before[name]:
                    continue
                allowed = f"at least {allowed}"
            raise InputError("--resume", name, value, allowed)


def find_begun(reference: str, command: Command, scratch: Path) -> Begun:
    """Return what a run was begun with; InputError if there is none, or none of the command's stage."""
    run_id, file, parameters, done = tracking.find_begun(reference, command.name, scratch)
    references = {name: parameters[name] for name in command.references if parameters.get(name)}
    return Begun(run_id, read_mapping(file), references, done)
