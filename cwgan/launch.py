"""What every entry point does alike: parse, import the work, open the MLflow run, and report errors."""

import gc
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from cwgan.command_line import Arguments, Command, parse
from cwgan.errors import InputError, interruptible

RESUME = {"resume": "id of an interrupted run of this command, which goes on where it was"}
TORCHRUN = "TORCHELASTIC_RUN_ID"  # which it sets in the environment of all that it starts
WAYS = (
    "python -m entrypoints.{name} --resume={id}",
    "mlflow run {project} --env-manager local -e {name} -P resume={id}",
)


def launch(command: Command, argv: list[str] | None = None) -> int:
    """Run one entry point; return 0, 130 if interrupted, or 1 for any error, which is one line on stderr.

    With `command.opens_run` its work gets an open MLflow run, the configuration, and the local files of the
    references; else the parsed flags and a temporary folder. Without `argv` the program's own flags count.
    Of the processes that `torchrun` starts, this is the work of the first; the others help it to train.
    """
    # Asks for huge pages, see docs/performance.md; PyTorch looks only once.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # OpenMP's threads spin 300000 times before they sleep, which costs others their cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000" if _is_crowded() else "3000")
    if os.environ.get("RANK", "0") != "0" and TORCHRUN in os.environ:
        return _help()
    flags = sys.argv[1:] if argv is None else argv
    try:
        with interruptible():
            # Parsed before the slow imports: --help and a misspelt flag answer at once.
            arguments = parse(command, flags)
            if TORCHRUN in os.environ and not ("gan" in command.sections and "resume" in command.references):
                raise InputError("torchrun", "command", command.name, "main, ablation or train_gan")
            _work(command, flags, arguments)
    except (InputError, FloatingPointError, OSError, MemoryError) as error:
        message = " ".join(str(error).splitlines())
        print(f"error: {message}", file=sys.stderr)
        if "MLFLOW_RUN_ID" in os.environ:  # no stage has opened it
            from cwgan import tracking

            tracking.note_refusal(command.name, message, getattr(error, "field", ""))
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        gc.enable()
    return 0


def _is_crowded() -> bool:
    """Return whether more threads want to run on this machine now than it has cores; only Linux tells."""
    try:
        running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
    except (OSError, IndexError):
        return False
    return int(running) > (os.cpu_count() or 1)


def _work(command: Command, flags: list[str], arguments: Arguments) -> None:
    gc.disable()  # a ninth of the time: the imports below make millions of objects, which all stay
    from cwgan import ranks, tracking
    from cwgan.experiment import resume
    from cwgan.machine import memory_counted
    from cwgan.stages.job import read_config

    module, _, function = command.work.partition(":")
    work: Any = getattr(import_module(module), function)
    with memory_counted(), ranks.joined(), tracking.session() as scratch:
        gc.freeze()
        gc.enable()
        if not command.opens_run:
            tracking.name_made_run(command.name)
            work(arguments, scratch)
            tracking.name_made_run(command.name, command.name)
            return
        given, begun = dict(arguments.references), None
        way = WAYS["MLFLOW_RUN_ID" in os.environ]
        if reference := given.pop("resume", ""):
            begun = resume.find_begun(reference, command, scratch)
            given = {**begun.references, **given}
            arguments = parse(command, flags, begun.config)
            begun.check(arguments.config)
            tracking.adopt(begun.run_id, "resumed")
        files = {name: Path(value) for name, value in given.items()}
        for name in command.artifacts.keys() & given.keys():
            files[name] = tracking.resolve(given[name], command.artifacts[name], name, scratch)
        if command.inherits in files and not begun:
            arguments = parse(command, flags, read_config(files[command.inherits]))
        config, run_id = arguments.config, begun.run_id if begun else ""
        told = {name: value for name, value in arguments.given.items() if name != "resume"}
        opened = tracking.run(command.name, config, command.sections, told, scratch, resume=run_id)
        with _told_how_to_resume(command, opened, way) as run:
            work(run, config, files)
        print(f"{command.name} run {run.run_id} in {tracking.store_uri()}")


def _help() -> int:
    """Help the first process with every GAN that it trains; return 1 if one of the processes is gone."""
    from cwgan import ranks
    from cwgan.machine import memory_counted
    from cwgan.stages.helping import help_train

    try:
        with memory_counted(), ranks.joined():
            # The first process ends between two steps, for which it needs the others. They end with it.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            help_train()
    except (ConnectionError, FloatingPointError):  # whoever is gone, or the first process, says why
        return 1
    except (InputError, OSError, MemoryError) as error:
        print(f"error: process {os.environ['RANK']}: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _told_how_to_resume(command: Command, opened: AbstractContextManager[Any], way: str) -> Iterator[Any]:
    """Open a run; say when it begins, and when it is interrupted or lacks disk or store, how it goes on."""
    again = ""
    try:
        with opened as run:
            if "resume" in command.references:
                place = {"project": shlex.quote(run.project), "name": command.name, "id": run.run_id}
                again = f"to go on with it: {way.format(**place)}"
                print(f"run {run.run_id}; {again}", flush=True)
            yield run
    except (InputError, FloatingPointError):  # it would come to the same
        raise
    except BaseException:
        if again:
            print(again, file=sys.stderr)
        raise
