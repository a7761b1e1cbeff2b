"""The house: imports point one way, and light rooms stay light."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import maskwright

ROOT = Path(maskwright.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py")

# Each layer may import those before it. The first four are what every layer stands on.
LAYERS = (
    "errors",
    "files",
    "terminal",
    "signals",
    "config",
    "device",
    "data",
    "models",
    "inference",
    "evaluation",
    "training",
    "interop",
    "serving",
    "scale",
    "commands",
    "cli",
    "__main__",
)
# What the server may be made of, beside what every layer stands on: it needs no torch.
UNDER_SERVING = {"errors", "files", "terminal", "signals", "config", "data", "inference", "serving"}
# Commands that are made of other commands.
COMPOSED = {"cross_validate.py", "demo.py", "original.py"}


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> list[str]:
    """Modules of ours that a file imports, wherever the import stands in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.startswith("maskwright.")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    own = LAYERS.index(layer_of(path))
    for name in imported_modules(path):
        layer = name.split(".")[1]
        assert LAYERS.index(layer) <= own, f"{path.name} imports {name}, which stands above it"


@pytest.mark.parametrize("path", sorted((ROOT / "serving").glob("*.py")), ids=lambda path: path.name)
def test_the_server_needs_only_config_data_and_inference(path: Path) -> None:
    assert {name.split(".")[1] for name in imported_modules(path)} <= UNDER_SERVING


@pytest.mark.parametrize("path", sorted((ROOT / "scale").glob("*.py")), ids=lambda path: path.name)
def test_many_machines_need_only_config_data_and_inference(path: Path) -> None:
    assert {name.split(".")[1] for name in imported_modules(path)} <= (UNDER_SERVING - {"serving"}) | {"scale"}


@pytest.mark.parametrize("path", sorted((ROOT / "commands").glob("*.py")), ids=lambda path: path.name)
def test_no_command_imports_another(path: Path) -> None:
    if path.name in COMPOSED:
        return
    others = [name for name in imported_modules(path) if name.startswith("maskwright.commands.")]
    assert others == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "models").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_models_know_no_files(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\bopen\(|\bPath\b|maskwright\.data|torch\.load", source)


def test_subpackages_are_empty_at_the_door() -> None:
    for path in ROOT.glob("*/**/__init__.py"):
        assert path.read_text(encoding="utf-8") == "", path


# What somebody else calls: scripts of the repository, Python, and the libraries whose classes these methods belong to.
CALLED_FROM_OUTSIDE = {
    "run_script", "train_original", "draw_original", "render", "get_next", "is_alive", "is_ready", "emit"
}  # fmt: skip


def test_nothing_is_there_for_tests_alone() -> None:
    sources = [path.read_text(encoding="utf-8") for path in MODULES]
    said = Counter(re.findall(r"\w+", "".join(sources)))
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {node.name for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, definitions)}
    unused = {name for name in defined if said[name] == 1 and not name.startswith("__")}
    assert unused == CALLED_FROM_OUTSIDE


# What importing a module must not bring along; each line stands for a process that imports all of its modules.
LIGHT = [
    ({"numpy", "torch", "PIL"}, ["maskwright", "maskwright.config", "maskwright.cli"]),
    ({"torch", "fastapi", "onnxruntime"}, ["maskwright.serving.decoding"]),
    ({"torch", "fastapi"}, ["maskwright.commands.serve"]),
    (
        {"torch", "ray", "pyarrow", "fsspec"},
        ["maskwright.commands.predict_at_scale", "maskwright.scale.parts"],
    ),
    ({"torch", "matplotlib"}, ["maskwright.evaluation.pages.report", "maskwright.training.record"]),
    (
        {"torch"},
        [
            "maskwright.inference.predictor",
            "maskwright.evaluation.evaluate",
            "maskwright.data.drawn_cars",
            "maskwright.data.doctor",
            "maskwright.evaluation.pages.contact_sheet",
            "maskwright.commands.check",
            "maskwright.commands.train",
            "maskwright.commands.plan",
            "maskwright.commands.cross_validate",
            "maskwright.commands.predict",
            "maskwright.commands.evaluate",
            "maskwright.commands.compare",
            "maskwright.commands.demo",
            "maskwright.serving.app",
        ],
    ),
]


@pytest.mark.parametrize(("unwanted", "modules"), LIGHT, ids=["-".join(sorted(unwanted)) for unwanted, _ in LIGHT])
def test_importing_stays_light(unwanted: set[str], modules: list[str]) -> None:
    """What none of them brings along when they come one after the other, none brings along alone."""
    code = f"""
import sys
from importlib import import_module
for module in {modules}:
    import_module(module)
    for name in sorted({unwanted} & sys.modules.keys()):
        sys.exit(module + " imports " + name)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
