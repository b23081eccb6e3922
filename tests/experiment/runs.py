"""What tests of runs share."""

from pathlib import Path

from cwgan import tracking
from cwgan.command_line import from_dict, to_dict
from cwgan.config import Config

TINY = [
    "--threads=1",
    *(
        "--gan.hidden_size=8",
        "--gan.epochs=2",
        "--gan.critic_steps=1",
        "--gan.batch_size=512",
        "--regressor.epochs=1",
    ),
    *("--monitor.epochs=1", "--monitor.batch_size=2048", "--classifier.epochs=1", "--generate.counts=[20]"),
]
UNKNOWN = "0" * 32


def started(scratch, config=None, sections=("gan",), references=None, **options):
    return tracking.run("stage", config or Config(), sections, references or {}, scratch, **options)


def config_with(**values):
    return from_dict({**to_dict(Config()), **values})


def files_of(client, run_id, folder=None):
    return sorted(item.path for item in client.list_artifacts(run_id, folder))


def resolve_file(reference, scratch=Path("unused")):
    return tracking.resolve(reference, "gan.safetensors", "gan", scratch)
