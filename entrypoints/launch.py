"""What every entry point does alike: parse, find what it builds on, open the MLflow run, report errors in one line."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from cwgan.command_line import Arguments, Command, parse
from cwgan.config import Config
from cwgan.errors import InputError

if TYPE_CHECKING:
    from cwgan.data.dataset import GzslDataset
    from cwgan.tracking import Run

Body = Callable[["Run", Config, dict[str, Path]], None]
INTERRUPTED = 130


def launch(command: Command, artifacts: Mapping[str, str], body: Body, argv: list[str] | None = None) -> int:
    """Run one entry point.

    Args:
        command: what it accepts.
        artifacts: the artifact that each reference to a run stands for; other references are plain paths.
        body: the work, given the open run, the resolved configuration and the local files of the references.
        argv: the flags; by default the program's.

    Returns:
        The exit status: 0; 130 if interrupted; 1 for any error, which is one line on stderr.
    """
    return reported(command, argv, partial(_run, command, artifacts, body))


def reported(command: Command, argv: list[str] | None, work: Callable[[list[str], Arguments], None]) -> int:
    """Parse the flags, do the work on them, and report any error as `launch` does; return the exit status."""
    flags = sys.argv[1:] if argv is None else argv
    try:
        with interruptible():
            arguments = parse(
                command, flags
            )  # before the slow imports: --help and a misspelt flag answer at once
            os.environ.setdefault(
                "THP_MEM_ALLOC_ENABLE", "1"
            )  # huge pages, see cwgan.machine; PyTorch asks only once
            work(flags, arguments)
    except (InputError, FloatingPointError, OSError) as error:
        message = " ".join(str(error).splitlines())
        print(f"error: {message}", file=sys.stderr)
        if "MLFLOW_RUN_ID" in os.environ:
            from cwgan import tracking

            tracking.note_error(message)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _run(
    command: Command, artifacts: Mapping[str, str], body: Body, flags: list[str], arguments: Arguments
) -> None:
    from cwgan import tracking

    given = arguments.references
    with tracking.session() as scratch:
        files = {
            name: tracking.resolve(value, artifacts[name], name, scratch)
            if name in artifacts
            else Path(value)
            for name, value in given.items()
        }
        if command.inherits in files:
            arguments = parse(command, flags, inherited_config(files[command.inherits]))
        with tracking.run(
            command.name, arguments.config, command.sections, {**arguments.layers, **given}, scratch
        ) as run:
            body(run, arguments.config, files)
        print(f"{command.name} run {run.run_id} in {tracking.store_uri()}")


def open_data(run: "Run", config: Config) -> "GzslDataset":
    """Read the data set of a run, record it there, and say what is in it."""
    from cwgan.stages.pipeline import load_data

    dataset = load_data(config)
    run.log_dataset(dataset)
    print(dataset.summary())
    return dataset


def inherited_config(path: Path) -> dict[str, Any]:
    """Return the configuration kept in a checkpoint or synthetic file that a stage builds on; empty where there is none.

    What belongs to that run and its machine alone is left out.
    """
    from cwgan.gan.checkpoint import read_facts
    from cwgan.gan.synthesis import inspect_synthetic

    if path.suffix == ".h5":
        text = inspect_synthetic(path).info.get("config", "{}")
        try:
            kept = json.loads(text)
        except ValueError:
            raise InputError(
                path, "info/config", repr(text[:60]), "the configuration as written by this program"
            ) from None
    else:
        kept = read_facts(path).get("config", {})
    return {
        key: value
        for key, value in kept.items()
        if key not in ("run_name", "experiment", "threads", "device")
    }


def percent(scores: Mapping[str, float]) -> str:
    """Return scores for a person, in percent."""
    return "   ".join(f"{name} {100 * value:.1f} %" for name, value in scores.items())


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a polite kill end a run as an interruption does, and nothing interrupt its closing."""
    signals = [
        number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN
    ]

    def ignore(signum: int, frame: FrameType | None) -> None:
        """Do nothing; unlike SIG_IGN, without a complaint where a second signal was under way already."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, ignore)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
