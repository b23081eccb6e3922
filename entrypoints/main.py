"""The whole road: train the GAN, generate, train and score the final classifier; a child run per stage."""

import sys

from cwgan.command_line import STAGE_SECTIONS, Command
from cwgan.launch import RESUME, launch

COMMAND = Command(
    "main",
    "Train the GAN, generate features of the unseen classes, train one classifier over all and score it.",
    STAGE_SECTIONS,
    {
        "pretrained": "run id or checkpoint of what monitor.train=false or regressor.train=false leaves out",
        **RESUME,
    },
    config="numbers",
    work="cwgan.experiment.side_by_side:run_main",
    artifacts={"pretrained": "pretrained.safetensors"},
)

if __name__ == "__main__":
    sys.exit(launch(COMMAND))
