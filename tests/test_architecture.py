"""The house: imports only go down its floors, and what is slow to import waits until it is needed."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ENTRY_POINTS = sorted({path.stem for path in (ROOT / "entrypoints").glob("*.py")} - {"__init__"})
FLOORS = (
    {"cwgan", "config", "options", "command_line", "layers", "errors", "files", "pages", "progress"}
    | {"machine", "ranks", "photo_config", "gan_config"},
    {"data", "images"},
    {"gan"},
    {"scoring"},
    {"stages"},
    {"tracking", "model", "experiment", "launch"},
    {"search"},
    {"entrypoints"},
)
"""The rooms of each floor, the lowest first; a package is one room."""

OWN_WALL = {
    "mlflow": {
        *(f"cwgan.tracking.{name}" for name in ("opening", "record", "references", "store")),
        *("cwgan.model.registry", "cwgan.model.answer"),
    },
    "optuna": {"cwgan.search.study"},
    "timm": {"cwgan.images.backbone"},
    "torchvision": {"cwgan.images.backbone"},
    "sentence_transformers": {"cwgan.images.texts"},
    "matplotlib": {"cwgan.stages.figures", "cwgan.stages.class_figures"},
}
LONG = {"cwgan.search.study"}
"""Files of more than 250 lines: this is the only one that knows Optuna."""

SLOW = ("torch", "timm", "sentence_transformers", "mlflow", "optuna", "matplotlib", "numpy", "sklearn")


def room(module: str) -> str:
    package, _, name = module.partition(".")
    return name.partition(".")[0] or package if package == "cwgan" else package


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def imports_of(path: Path) -> set[str]:
    """Every module named by an import of a file, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            package = ROOT / Path(*node.module.split("."))
            is_module = {alias.name: (package / f"{alias.name}.py").is_file() for alias in node.names}
            found |= {f"{node.module}.{name}" for name, is_one in is_module.items() if is_one}
            found |= {node.module for is_one in is_module.values() if not is_one}
    return found


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): imports_of(path)
    for folder in ("cwgan", "entrypoints")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def own(imports: set[str]) -> set[str]:
    return {name for name in imports if name.split(".")[0] in ("cwgan", "entrypoints")}


def test_every_room_has_a_floor_and_only_one():
    named = [room for rooms in FLOORS for room in rooms]
    assert len(named) == len(set(named))
    assert {room(module) for module in MODULES} == set(named)


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_go_down(module):
    assert [name for name in own(MODULES[module]) if floor(name) > floor(module)] == []


def test_no_module_and_no_room_imports_itself_by_a_detour():
    graph = {module: own(imports) for module, imports in MODULES.items()}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(MODULES)
    rooms: dict[str, set[str]] = {room(module): set() for module in MODULES}
    for module, imports in MODULES.items():
        rooms[room(module)] |= {room(name) for name in own(imports)} - {room(module)}
    assert set(graphlib.TopologicalSorter(rooms).static_order()) == set(rooms)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_is_a_declaration_that_imports_no_other(name):
    allowed = {"cwgan.command_line", "cwgan.launch", "cwgan.experiment"}
    assert own(MODULES[f"entrypoints.{name}"]) <= allowed
    assert len((ROOT / "entrypoints" / f"{name}.py").read_text().splitlines()) <= 40


def test_no_file_is_longer_than_250_lines_but_the_wall_to_optuna():
    paths = {module: ROOT / f"{module.replace('.', '/')}.py" for module in MODULES}
    lines = {module: len(path.read_text().splitlines()) for module, path in paths.items() if path.is_file()}
    assert {module for module, count in lines.items() if count > 250} <= LONG


@pytest.mark.parametrize(("package", "wall"), OWN_WALL.items())
def test_only_its_own_wall_imports(package, wall):
    importers = {
        module for module, imports in MODULES.items() if package in {name.split(".")[0] for name in imports}
    }
    assert importers == wall


@pytest.mark.parametrize(
    "module",
    [
        *("gan.networks", "gan.shapes", "gan.losses", "gan.fast.gradients", "gan.fast.bfloat16"),
        *("gan.mean_correction", "scoring.metrics", "scoring.calibration", "scoring.evaluation"),
        "scoring.diagnostics",
    ],
)
def test_what_takes_tensors_and_numbers_knows_no_config(module):
    assert "cwgan.config" not in MODULES[f"cwgan.{module}"]


@pytest.mark.parametrize(
    "statement", ["import cwgan", *(f"import entrypoints.{name}" for name in ENTRY_POINTS)]
)
def test_an_import_alone_loads_nothing_slow(statement):
    assert slow_modules(statement) == []


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_help_loads_nothing_slow(name):
    ask = f"import runpy; sys.argv = ['{name}', '--help']\n"
    ask += f"try: runpy.run_module('entrypoints.{name}', run_name='__main__')"
    assert slow_modules(f"{ask}\nexcept SystemExit as end: assert end.code == 0") == []


def slow_modules(statement: str) -> list[str]:
    program = (
        f"import sys\n{statement}\nprint('\\nloaded:', *[name for name in {SLOW} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.rpartition("loaded:")[2].split()


def test_conda_yaml_and_pyproject_pin_the_same_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    pinned = next(item["pip"] for item in conda if isinstance(item, dict))
    assert sorted(pinned) == sorted(project["dependencies"])
    assert all(re.fullmatch(r"[\w-]+(\[\w+\])?==[\d.]+", pin) for pin in pinned)


def test_mlproject_offers_every_entry_point_and_no_other():
    declared = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    assert sorted(declared) == ENTRY_POINTS


def test_mlproject_gives_no_parameter_a_value_of_its_own():
    """Else `mlflow run -P data.path=<folder>` would get the preset of the built-in data."""
    declared = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    given = {name: point.get("parameters", {}) for name, point in declared.items()}
    assert all(kind == "string" for parameters in given.values() for kind in parameters.values())
