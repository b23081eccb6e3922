"""Fit the monitor and the regressor, freeze them, and train the GAN."""

import sys

from cwgan.command_line import STAGE_SECTIONS, Command
from cwgan.launch import RESUME, launch

COMMAND = Command(
    "train_gan",
    "Fit the monitor and the regressor on real seen features, freeze them, and train the GAN.",
    STAGE_SECTIONS,
    {
        "pretrained": "run id or checkpoint of what monitor.train=false or regressor.train=false leaves out",
        **RESUME,
    },
    config="numbers",
    work="cwgan.experiment.steps:train_gan",
    artifacts={"pretrained": "pretrained.safetensors"},
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
