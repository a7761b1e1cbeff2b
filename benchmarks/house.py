"""The house in numbers, before and after the pass over it, and beside other houses.

    python benchmarks/house.py               this tree, the commit that the pass began with, and packages installed here
    python benchmarks/house.py FOLDER...     also packages unpacked elsewhere; nothing of others is run

Every figure is counted in the sources, without their tests but for our own, which have a row of their own:

- files and lines of Python, blank lines and comments included;
- of a function its lines from ``def`` on, without its docstring: the longest, the mean;
- modules in circles: those from which a chain of imports leads back, wherever in the file they stand, but for those
  that only a type checker sees;
- typed: the share of functions all of whose parameters and whose result are annotated; ``self`` and ``cls`` need none,
  nor does the result of an ``__init__``;
- duplicated lines: those within six or more that stand again, to the letter, elsewhere in the package. Blank lines,
  comments, docstrings and imports are passed over.
"""

import argparse
import ast
import io
import statistics
import subprocess
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from maskwright.files import write_json

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "house.json"
BEFORE = "6f45454"
# Of the field or known for their code, as far as they are installed with what development needs.
PEERS = ("segmentation_models_pytorch", "timm", "torchvision", "torchmetrics", "httpx")
DUPLICATED_RUN = 6

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class House:
    """What was counted in a package; lengths are lines."""

    files: int
    lines: int
    functions: int
    longest_function: int
    longest_name: str
    mean_function: float
    modules_in_circles: int
    typed_share: float
    duplicated_lines: int


def measure(folder: Path) -> House:
    """Count everything in a folder of sources."""
    paths = sorted(path for path in folder.rglob("*.py") if path.is_file())
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    functions = [
        (length_of(node), f"{path.relative_to(folder)}: {node.name}", is_typed(node))
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    ]
    longest, name, _ = max(functions)
    return House(
        files=len(paths),
        lines=sum(len(text.splitlines()) for text in texts.values()),
        functions=len(functions),
        longest_function=longest,
        longest_name=name,
        mean_function=round(statistics.mean(length for length, _, _ in functions), 1),
        modules_in_circles=len(in_circles(imports_within(folder, trees))),
        typed_share=round(statistics.mean(typed for _, _, typed in functions), 3),
        duplicated_lines=count_duplicated([list(lines_of_code(texts[path], trees[path])) for path in paths]),
    )


def length_of(function: Function) -> int:
    """Lines without the docstring."""
    docstring = docstring_of(function)
    return (function.end_lineno or 0) - function.lineno + 1 - (len(lines_of(docstring)) if docstring else 0)


def docstring_of(node: ast.AST) -> ast.Expr | None:
    """The statement that documents a module, a class or a function."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first
    return None


def lines_of(node: ast.stmt) -> range:
    """Numbers of the lines of a statement."""
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def is_typed(function: Function) -> bool:
    """Whether everything that could be annotated is."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    annotated = all(each.annotation or each.arg in ("self", "cls") for each in parameters)
    return annotated and (function.returns is not None or function.name == "__init__")


def imports_within(folder: Path, trees: Mapping[Path, ast.Module]) -> dict[str, set[str]]:
    """For each module of a package those of the same package that it imports."""
    names = {path: ".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in trees}
    names = {path: name.removesuffix(".__init__") for path, name in names.items()}
    known = set(names.values())
    found = {}
    for path, tree in trees.items():
        package = names[path] if path.name == "__init__.py" else names[path].rpartition(".")[0]
        found[names[path]] = {name for name in imported(tree, package, known) if name != names[path]}
    return found


def imported(tree: ast.Module, package: str, known: set[str]) -> Iterator[str]:
    """Modules of a package that one of its modules imports; a name is its module, or one that is defined in it."""
    for node in at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            modules = {f"{base}.{alias.name}" for alias in node.names} & known
            yield from modules
            if base in known and len(modules) < len(node.names):
                yield base


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node but for what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from at_run_time(child)


def in_circles(imports: Mapping[str, set[str]]) -> set[str]:
    """Modules that can be reached from themselves."""

    def reached_from(start: str) -> set[str]:
        reached: set[str] = set()
        ahead = set(imports[start])
        while ahead:
            name = ahead.pop()
            reached.add(name)
            ahead |= imports[name] - reached
        return reached

    return {name for name in imports if name in reached_from(name)}


def lines_of_code(text: str, tree: ast.Module) -> Iterator[str]:
    """Lines that could be said twice."""
    passed_over: set[int] = set()
    for node in ast.walk(tree):
        statement = node if isinstance(node, ast.Import | ast.ImportFrom) else docstring_of(node)
        if statement:
            passed_over |= set(lines_of(statement))
    for number, line in enumerate(text.splitlines(), start=1):
        if number not in passed_over and line.strip() and not line.strip().startswith("#"):
            yield line.strip()


def count_duplicated(files: Sequence[Sequence[str]]) -> int:
    """Lines within runs that stand in more than one place."""
    places = defaultdict(list)
    for number, lines in enumerate(files):
        for start in range(len(lines) - DUPLICATED_RUN + 1):
            places[tuple(lines[start : start + DUPLICATED_RUN])].append((number, start))
    repeated = (place for found in places.values() if len(found) > 1 for place in found)
    return len({(number, start + ahead) for number, start in repeated for ahead in range(DUPLICATED_RUN)})


def installed(package: str) -> tuple[str, Path] | None:
    """A package's name with its version, and where it lies; None where it is not installed."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return f"{package} {version(packages_distributions()[package][0])}", Path(spec.origin).parent


def check_out(commit: str, folder: Path) -> None:
    """Lay out the sources and tests of a commit."""
    command = ["git", "archive", commit, "src", "tests"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(folder, filter="data")


def as_table(houses: Mapping[str, House]) -> str:
    """The rows of README.md."""
    rows = [
        "| sources | files | lines | longest function | mean | modules in circles | typed | duplicated lines |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, of in houses.items():
        rows.append(
            f"| {name} | {of.files} | {of.lines:,} | {of.longest_function} | {of.mean_function} | "
            f"{of.modules_in_circles} | {of.typed_share:.1%} | {of.duplicated_lines:,} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Count, print the table, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    parser.add_argument("folders", type=Path, nargs="*", help="of further packages")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    houses = {}
    with tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary) / "before"
        check_out(options.before, before)
        for name, tree in ((f"before ({options.before})", before), ("after", ROOT)):
            houses[f"src, {name}"] = measure(tree / "src" / "maskwright")
            houses[f"tests, {name}"] = measure(tree / "tests")
    peers = [*filter(None, map(installed, PEERS)), *((folder.name, folder) for folder in options.folders)]
    houses |= {name: measure(folder) for name, folder in peers}
    print(as_table(houses))
    write_json(options.out, {name: asdict(house) for name, house in houses.items()})


if __name__ == "__main__":
    main()
