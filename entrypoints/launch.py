"""What every entry point does alike: parse, find what it builds on, open the MLflow run, report errors in one line."""

import sys
from argparse import ArgumentError
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cwgan.command_line import Command, parse
from cwgan.config import Config
from cwgan.errors import InputError

if TYPE_CHECKING:
    from cwgan.tracking import Run

Body = Callable[["Run", Config, dict[str, Path]], None]


def launch(command: Command, artifacts: Mapping[str, str], body: Body, argv: list[str] | None = None) -> int:
    """Run one entry point.

    Args:
        command: what it accepts.
        artifacts: the artifact that each reference to a run stands for; other references are plain values.
        body: the work, given the open run, the resolved configuration and the local files of the references.
        argv: the flags; by default the program's.

    Returns:
        The exit status: 0; 2 for a command line that cannot be parsed; 130 if interrupted; 1 for any other error.
    """
    flags = sys.argv[1:] if argv is None else argv
    try:
        arguments = parse(command, flags)  # before the slow imports: --help and a misspelt flag answer at once
        # The imports wait, and mlflow only where a run is really opened.
        from cwgan import tracking

        names = {name: value for name, value in arguments.references.items() if value}
        files = {name: tracking.resolve(value, artifacts[name], name) for name, value in names.items() if name in artifacts}
        if files:
            arguments = parse(command, flags, inherited_config(next(iter(files.values()))))
        files.update({name: Path(value) for name, value in names.items() if name not in artifacts})
        with tracking.run(command.name, arguments.config, command.sections, {**arguments.layers, **names}) as run:
            body(run, arguments.config, files)
            print(f"{command.name} run {run.run_id} in {tracking.store_uri()}")
    except ArgumentError as error:
        print(f"error: {error.message}\nsee python -m entrypoints.{command.name} --help", file=sys.stderr)
        return 2
    except (InputError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def inherited_config(path: Path) -> dict[str, Any]:
    """Return the configuration kept in a checkpoint or synthetic file that a stage builds on; empty where there is none."""
    import json

    from cwgan.checkpoint import read_facts
    from cwgan.synthesis import inspect_synthetic

    if path.suffix == ".h5":
        return json.loads(inspect_synthetic(path).info.get("config", "{}"))
    return read_facts(path)["config"]


def percent(scores: Mapping[str, float]) -> str:
    """Return scores for a person, in percent."""
    return "   ".join(f"{name} {100 * value:.1f} %" for name, value in scores.items())
