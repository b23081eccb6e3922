"""Rubbish in: whatever is handed in ends in success, or in one of our own errors; no crash, no hang.

Real small files with flipped, cut and overwritten bytes, HDF5 files of odd objects, and made-up text. Each
kind has a process of its own, so that a crash is a fault like another. Run: python -m benchmarks.fuzz [cases]
"""

import faulthandler
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cwgan.command_line import ALLOWED, parse
from cwgan.config import ClassifierConfig, Config, GenerateConfig
from cwgan.data.features import read_features
from cwgan.data.hdf5 import save_hdf5
from cwgan.data.new_classes import add_new_classes
from cwgan.data.sources import load_dataset
from cwgan.errors import InputError
from cwgan.gan_config import GanConfig, MonitorConfig
from cwgan.search.space import list_points, read_space
from cwgan.stages.classify import evaluate_classifier, train_classifier
from cwgan.stages.generate import generate
from cwgan.stages.job import CLASSIFIER_FILE, GAN_FILE, SYNTHETIC_FILE, Job, read_config
from cwgan.stages.train import train
from entrypoints import generate as generate_entry
from entrypoints import main as main_entry
from tests.make_data import tiny_dataset, write_xlsa17

CASES = 5000  # of all kinds together
PATIENCE = 20  # seconds that one case may take
MEMORY = 1_000_000  # kB that a kind may take beyond what it began with
REFUSALS = (InputError, FloatingPointError)
TINY = Config(
    threads=1,
    monitor=MonitorConfig(epochs=1),
    gan=GanConfig(epochs=1, epoch_steps=1, critic_steps=1, hidden_size=4, snapshots=2),
    generate=GenerateConfig(counts=[3]),
    classifier=ClassifierConfig(epochs=1),
)
DATASETS = {
    "data.h5": ("train/X", "train/Y", "test/seen/X", "test/unseen/Y", "val/X", "train_val/Y"),
    "knn.h5": ("openset/ids", "openset/data", "openset/labels"),
    "synthetic.h5": ("train/X", "train/Y", "info/config", "info/data", "info/merged"),
}


@dataclass
class World:
    """A folder with a whole file of every kind, and a stage's job to use them in."""

    folder: Path

    def __post_init__(self) -> None:
        self.job = Job(TINY, tiny_dataset(), self.folder / "stages", lambda terms, epoch: None)
        save_hdf5(self.job.dataset, self.folder / "pair")
        write_xlsa17(self.folder / "xlsa17", compressed=False)
        generate(self.job, train(self.job))
        train_classifier(self.job, self.job.folder / SYNTHETIC_FILE)
        self.out = Job(TINY, self.job.dataset, self.folder / "out", self.job.log)
        np.save(self.folder / "table.npy", self.job.dataset.attributes.numpy())
        lines = ["name,red,green,blue", "gnu,0.5,1,0.25", "hen,1,0,3"]
        (self.folder / "new.csv").write_text("\n".join(lines))
        (self.folder / "rows.csv").write_text("a,b,c\n1,2,3\n4,5.5,1e-3\n")
        self.places = {path.name: path for path in self.folder.rglob("*") if path.is_file()}

    def find(self, name: str) -> Path:
        """Return the whole file of that name."""
        return self.places[name]

    def damage(self, name: str, content: bytes) -> Path:
        """Write other content in the place of a file, beside whole files of the others; return it."""
        folder = self.folder / f"damaged {name}"
        folder.mkdir(exist_ok=True)
        for file in self.find(name).parent.iterdir():
            if file.is_file() and not (folder / file.name).exists():
                (folder / file.name).symlink_to(file.absolute())
        path = folder / name
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        return path

    def use(self, path: Path) -> None:
        """Do with a file what the program does with it."""
        inherit = {GAN_FILE: "gan", SYNTHETIC_FILE: "gan"}
        if path.name in inherit:
            parse(generate_entry.COMMAND, ["--gan=file"], read_config(path))
        USES[path.name](self, path)


USES: dict[str, Callable[[World, Path], object]] = {
    "data.h5": lambda world, path: load_dataset(str(path.parent)),
    "knn.h5": lambda world, path: load_dataset(str(path.parent)),
    "res101.mat": lambda world, path: load_dataset(str(path.parent)),
    "att_splits.mat": lambda world, path: load_dataset(str(path.parent)),
    "table.npy": lambda world, path: load_dataset(str(world.folder / "pair"), attributes=str(path)),
    "new.csv": lambda world, path: add_new_classes(world.job.dataset, str(path)),
    "rows.csv": lambda world, path: read_features(path, 3),
    GAN_FILE: lambda world, path: generate(world.out, path),
    SYNTHETIC_FILE: lambda world, path: train_classifier(world.out, path),
    CLASSIFIER_FILE: lambda world, path: evaluate_classifier(world.out, path),
}

numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**31, 2**63, 10**400, 1e308, float("nan")])
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8), st.dates(), st.binary(max_size=4))
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner))
)
names = st.one_of(st.sampled_from(sorted(ALLOWED)), st.sampled_from(["gan", "base", "gan.save"]), st.text())
BOMB = "a: &a [1, 1]\n" + "".join(
    f"{key}: &{key} [*{last}, *{last}]\n" for last, key in itertools.pairwise("abcdefghijklmnopqrstuvwxyz")
)
ODD_YAML = [
        BOMB,
        "gan: &g {save: *g}",
        "gan: {<<: *nothing}",
        "&a [*a]",
        "!!python/object/apply:os.system ['touch /tmp/never']",
        "gan: {epochs: !!int ''}",
        "gan: {epochs: !!bool maybe}",
        "gan: {epochs: !!timestamp never}",
        "gan: !!binary x",
        "gan: !!set {a, b}",
        "[" * 5000,
        "{a: " * 5000,
        "gan: {epochs: " + "1:" * 4000 + "1}",
        "gan: {epochs: " + "9" * 5000 + "}",
        "base: numbers\nbase: 7",
        "gan: 3\ngan.epochs: 3",
        "? [a, b]\n: 1",
        "\x00",
        "a: \ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ]  # fmt: skip
layers = st.one_of(
    st.dictionaries(names, values, max_size=4).map(lambda made: yaml.dump(made, allow_unicode=True)),
    st.text(),
    st.sampled_from(ODD_YAML),
)
entries = st.one_of(
    values,
    st.fixed_dictionaries({"low": numbers, "high": numbers}, optional={"log": scalars}),
    st.fixed_dictionaries({"choices": st.lists(scalars, max_size=4)}),
)
searched = st.sampled_from(["gan.cycle_weight", "gan.hidden_size", "generate.counts", "classifier.lr"])
sizes = st.one_of(st.integers(1, 10**30), st.floats(1e-9, 1e9))
ranges = st.fixed_dictionaries({"low": sizes, "high": sizes}, optional={"log": st.booleans()})
choices = st.fixed_dictionaries({"choices": st.lists(sizes, min_size=2, max_size=4)})
spaces = st.one_of(
    st.dictionaries(searched, st.one_of(ranges, choices), max_size=3).map(yaml.dump),
    layers,
    st.dictionaries(names, entries, max_size=3).map(yaml.dump),
)
shown = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
flag_names = st.one_of(names, st.sampled_from(["config", "variant", "seeds+", "help "]))
flag = st.tuples(flag_names, st.one_of(shown, values.map(str))).map(lambda pair: f"--{pair[0]}={pair[1]}")
flags = st.lists(flag | shown, max_size=3).filter(lambda argv: not {"--help", "-h"} & set(argv))


def damages(content: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for a file's content with some bytes changed, or its end cut off or repeated."""
    place, byte = st.integers(0, len(content) - 1), st.integers(0, 7).map(lambda bit: ("flip", 1 << bit))
    change = st.one_of(byte, st.sampled_from([0, 1, 14, 15, 127, 128, 254, 255]).map(lambda to: ("set", to)))

    def apply(drawn: tuple[list[tuple[int, tuple[str, int]]], int, int]) -> bytes:
        changes, cut, more = drawn
        out = bytearray(content)
        for at, (how, by) in changes:
            out[at] = out[at] ^ by if how == "flip" else by
        return bytes(out[: len(out) - cut] + out[len(out) - more :])

    ends = st.one_of(st.just(0), st.integers(0, len(content)))
    return st.tuples(st.lists(st.tuples(place, change), max_size=6), ends, st.just(0)).map(apply)


ODDITIES: dict[str, Callable[[h5py.File, str], object]] = {
    "soft link": lambda file, key: file.__setitem__(key, h5py.SoftLink("/train/X")),
    "link to itself": lambda file, key: file.__setitem__(key, h5py.SoftLink(f"/{key}")),
    "external link": lambda file, key: file.__setitem__(key, h5py.ExternalLink("/etc/passwd", "/X")),
    "loop": lambda file, key: file.__setitem__(key, file["/"]),
    "group": lambda file, key: file.create_group(key),
    "8 TB": lambda file, key: file.create_dataset(key, (10**6, 10**6), "f8"),
    "8 TB, chunks": lambda file, key: file.create_dataset(key, (10**6, 10**6), "f8", chunks=(9, 9)),
    "long": lambda file, key: file.create_dataset(key, (10**12,), "i8", chunks=(9,), compression="gzip"),
    "large chunks": lambda file, key: file.create_dataset(
        key, (30, 5), "f4", maxshape=(None, None), chunks=(10**7, 50), compression="gzip", fillvalue=1
    ),
    "references": lambda file, key: file.create_dataset(key, (30,), h5py.ref_dtype),
    "lists": lambda file, key: file.create_dataset(key, (30, 5), h5py.vlen_dtype(np.float64)),
    "records": lambda file, key: file.create_dataset(key, (30,), [("a", "f4"), ("b", "S5")]),
    "nothing": lambda file, key: file.create_dataset(key, dtype=h5py.Empty("f4").dtype, shape=None),
    "complex": lambda file, key: file.create_dataset(key, (30, 5), "c16"),
    "enum": lambda file, key: file.create_dataset(key, (30,), h5py.enum_dtype({"a": 1})),
    "text": lambda file, key: file.create_dataset(key, data=["a", "\N{SNOWMAN}"]),
    "bytes": lambda file, key: file.create_dataset(key, data=np.array([b"\xff\xfe", b"a"])),
    "one text": lambda file, key: file.create_dataset(key, data="{" * 2000),
    "one number": lambda file, key: file.create_dataset(key, data=3),
    "NaN": lambda file, key: file.create_dataset(key, data=np.full((30, 5), np.nan)),
    "no rows": lambda file, key: file.create_dataset(key, (0, 5), "f4"),
    "large numbers": lambda file, key: file.create_dataset(key, data=np.full(30, 2**64 - 1, np.uint64)),
}


def make_odd(world: World, name: str, key: str, oddity: str) -> Path:
    """Put an odd object into an HDF5 file, in the place of what is there."""
    path = world.damage(name, world.find(name).read_bytes())
    with h5py.File(path, "r+") as file:
        del file[key]
        ODDITIES[oddity](file, key)
    return path


def kinds(world: World) -> dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], object]]]:
    """Return for every kind of input what to hand in, and what to do with it."""

    def write(name: str, text: str) -> Path:
        path = world.folder / name
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        return path

    whole = {name: world.find(name).read_bytes() for name in USES}
    damaged = {
        name: (damages(content), lambda case, name=name: world.use(world.damage(name, case)))
        for name, content in whole.items()
    }
    odd = st.sampled_from([(name, key) for name, keys in DATASETS.items() for key in keys])
    return {
        **damaged,
        "odd objects": (
            st.tuples(odd, st.sampled_from(sorted(ODDITIES))),
            lambda case: world.use(make_odd(world, *case[0], case[1])),
        ),
        "new classes": (st.text(), lambda case: world.use(world.damage("new.csv", case.encode()))),
        "layer": (layers, lambda case: parse(main_entry.COMMAND, [f"--config={write('l.yaml', case)}"])),
        "space": (spaces, lambda case: list_points(read_space(str(write("space.yaml", case)), TINY))),
        "flags": (flags, lambda case: parse(main_entry.COMMAND, case)),
    }


def search(world: World, kind: str, cases: int, is_random: bool = False) -> Counter[str]:
    """Try so many cases of a kind, and count how they ended; an exception is a fault, with its case."""
    ends, (inputs, use) = Counter[str](), kinds(world)[kind]

    @settings(
        max_examples=cases,
        deadline=timedelta(seconds=PATIENCE),
        database=None,
        phases=(Phase.generate,),  # to shrink a case of a second or more would take hours
        derandomize=not is_random,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def check(case: Any) -> None:
        try:
            with redirect_stderr(StringIO()):
                use(case)
            ends["accepted"] += 1
        except REFUSALS as error:
            ends["refused"] += 1
            assert str(error)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    if (grown := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > MEMORY:
        raise MemoryError(f"{kind}: {grown / 1e6:.1f} GB more than before")
    return ends


def main(cases: int = CASES) -> dict[str, dict[str, int]]:
    """Try every kind in a process of its own; print and return how its cases ended."""
    table: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        known = list(kinds(World(Path(folder))))
    print("| input | cases | accepted | refused | faults | s |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in known:
        began, share = time.perf_counter(), str(-(-cases // len(known)))
        command = [sys.executable, "-m", "benchmarks.fuzz", kind, share]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
        accepted, refused = map(int, done.stdout.split()[-2:]) if done.returncode == 0 else (0, 0)
        table[kind] = {"accepted": accepted, "refused": refused, "faults": int(done.returncode != 0)}
        seconds = time.perf_counter() - began
        print(f"| {kind} | {share} | {accepted} | {refused} | {table[kind]['faults']} | {seconds:.0f} |")
        if done.returncode:
            print("\n".join(done.stderr.splitlines()[-30:]))
    return table


if __name__ == "__main__":
    if len(sys.argv) > 2:
        faulthandler.enable()
        faulthandler.dump_traceback_later(3000, exit=True)
        with tempfile.TemporaryDirectory() as place:
            found = search(World(Path(place)), sys.argv[1], int(sys.argv[2]), is_random=True)
        print(found["accepted"], found["refused"])
    else:
        results = main(*map(int, sys.argv[1:]))
        sys.exit(any(each["faults"] for each in results.values()))
