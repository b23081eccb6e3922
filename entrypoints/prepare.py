"""Convert a data set into the original code's HDF5 pair."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cwgan.command_line import Command
from cwgan.config import Config
from cwgan.errors import InputError
from entrypoints.launch import launch, open_data

if TYPE_CHECKING:
    from cwgan.tracking import Run

COMMAND = Command(
    "prepare",
    "Convert a data set, such as an xlsa17 folder, into the original HDF5 pair data.h5 and knn.h5.",
    ("data",),
    {"out": "folder for the pair (required), by convention data/<name in lower case>"},
    required=("out",),
)


def body(run: "Run", config: Config, files: dict[str, Path]) -> None:
    from cwgan.data.hdf5 import save_hdf5

    if config.protocol != "final":
        raise InputError(
            "configuration",
            "protocol",
            config.protocol,
            "final: the pair holds every split, and each run chooses its protocol",
        )
    dataset = open_data(run, config)
    folder = files["out"].resolve()
    save_hdf5(dataset, folder)
    print(f"wrote {folder / 'data.h5'} and {folder / 'knn.h5'}")


if __name__ == "__main__":
    sys.exit(launch(COMMAND, {}, body))
