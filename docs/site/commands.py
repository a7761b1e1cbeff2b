"""Write docs/commands.md: every command and every setting, from the signatures and docstrings that `--help` is made of.

python docs/site/commands.py        (make reference; a test says when it is due)
"""

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional, Suppress

from maskwright import cli, config
from maskwright.config import MaskSettings, Settings

PAGE = Path(__file__).parents[1] / "commands.md"
# Settings that several commands take, and the heading that they are described under.
SHARED: dict[type, str] = {Settings: "Settings of training", MaskSettings: "What masks mean"}

INTRODUCTION = """\
# Commands and settings

Every command with every option, and every setting of a training. This page is written by `make reference` from what
`maskwright COMMAND --help` shows; the guides say what to do with it.

An option that takes a value is written `--size 512` or `--size=512`; one that is on or off is written alone. Where
nothing is given, the default counts. Names of settings are the same on the command line (`--batch-size`), in a run's
`config.toml` and in Python (`batch_size`).

```sh
maskwright --help                # the commands
maskwright train --help          # one of them
maskwright --version
python -m maskwright --help      # the same program, where the command is not on the path
```

**Completion.** The shell completes commands, options and their words after

```sh
eval "$(maskwright --completion bash)"      # for bash, in ~/.bashrc; zsh and tcsh are known too
```
"""

CONCLUSION = """\
## Exit codes

| code | what it means |
|---|---|
| 0 | done |
| 1 | done, with findings or failures that were listed |
| 2 | could not start or go on; a sentence says why |
| 75 | stopped by a signal, with the state saved: the same command with `--resume` goes on |
| 130 | interrupted where there was nothing to save |

## Environment variables

| variable | what it does |
|---|---|
| `MASKWRIGHT_CACHE` | folder for decoded pictures, in place of the user's cache folder |
| `MASKWRIGHT_API_KEY` | the key that clients of `serve` have to send, where `--api-key-file` names none |
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """An option as a line of a table."""

    option: str
    default: str
    text: str


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    parts += [describe_command(word, command) for word, command in cli.WORDS.items()]
    parts += [describe_settings(), describe_masks(), describe_presets(), CONCLUSION]
    return "\n".join(parts)


def describe_command(word: str, command: Callable[..., int]) -> str:
    """One command: what it does, how it is called, its own options, and where the others stand."""
    texts = argument_texts(command)
    hints = get_type_hints(command, include_extras=True)
    usage, rows, pointers = [f"maskwright {word}"], [], []
    for name, parameter in inspect.signature(command).parameters.items():
        kind, marks = hints[name], getattr(hints[name], "__metadata__", ())
        if set(marks) & set(getattr(Suppress[int], "__metadata__", ())):
            continue
        plain = kind.__origin__ if marks else kind
        if dataclasses.is_dataclass(plain) and isinstance(plain, type):
            if plain in SHARED:
                pointers.append(link_to(SHARED[plain]))
            else:
                rows += [row for _, row in rows_of_fields(plain, plain())]
        elif set(marks) & set(getattr(Positional[int], "__metadata__", ())):
            usage.append(name.upper() + ("..." if get_origin(plain) is tuple else ""))
            rows.append(Row(f"`{name.upper()}`", "", texts[name]))
        else:
            named = next((mark.name for mark in marks if getattr(mark, "name", None)), name)
            rows.append(row_of(named, plain, parameter.default, texts[name]))
    sentence = inspect.getdoc(command).split("\n\n")[0]  # type: ignore[union-attr]
    lines = [f"## maskwright {word}\n", f"{sentence}\n", f"```text\n{' '.join(usage)} [OPTIONS]\n```\n", table(rows)]
    if pointers:
        lines.append(f"Further options: {' and '.join(pointers)}.\n")
    return "\n".join(lines)


def describe_settings() -> str:
    """What `train` can be told, in the groups that stand in `config.Settings`."""
    lines = [
        f"## {SHARED[Settings]}\n",
        f"Of `train` and `plan`, and in Python of `maskwright.Settings`; {link_to(SHARED[MaskSettings])} belongs to",
        "them too. Defaults are those without a preset; what a [preset](#presets) sets is marked.\n",
    ]
    set_by_presets = {name for preset in config.preset_names() for name in preset_table(preset)}
    groups: dict[str, list[Row]] = {}
    for group, row in rows_of_fields(Settings, Settings()):
        if not group:  # those of MaskSettings, which have a place of their own
            continue
        marked = setting_of(row) in set_by_presets
        default = f"{row.default} (preset)" if marked else row.default
        groups.setdefault(group, []).append(dataclasses.replace(row, default=default))
    for group, rows in groups.items():
        lines += [f"### {group}\n", table(rows)]
    return "\n".join(lines)


def describe_masks() -> str:
    """What can be said of masks, to several commands."""
    rows = [row for _, row in rows_of_fields(MaskSettings, MaskSettings())]
    about = "Of `check`, `plan`, `train` and `evaluate`; [data.md](data.md) explains them.\n"
    return "\n".join([f"## {SHARED[MaskSettings]}\n", about, table(rows)])


def describe_presets() -> str:
    """What each preset sets, side by side."""
    tables = {name: preset_table(name) for name in ("quick", "best", "classic")}
    assert sorted(tables) == config.preset_names()  # noqa: S101 - a new one has to be put into an order
    names = [
        field.name for field in dataclasses.fields(Settings) if any(field.name in each for each in tables.values())
    ]
    lines = ["## Presets\n", f"| setting | {' | '.join(tables)} |", "|---|---|---|---|"]
    for name in names:
        cells = [in_words(each[name]) if name in each else "" for each in tables.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Where a cell is empty, the default of the setting counts.\n"])


def preset_table(name: str) -> dict[str, Any]:
    """The settings that a preset's file names."""
    return tomllib.loads(resources.files("maskwright.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def rows_of_fields(kind: type, defaults: Any) -> Iterator[tuple[str, Row]]:  # noqa: ANN401 - an instance of `kind`
    """The fields of a dataclass of settings, each with the comment that heads its group."""
    hints = get_type_hints(kind)
    sources = {name: found for each in reversed(kind.__mro__) for name, found in documented_fields(each).items()}
    for field in dataclasses.fields(kind):
        group, text = sources[field.name]
        yield group, row_of(field.name, hints[field.name], getattr(defaults, field.name), text)


def documented_fields(kind: type) -> dict[str, tuple[str, str]]:
    """The fields that a class of `config` defines itself: the comment above their group, and their docstring."""
    if kind is object:
        return {}
    source = textwrap.dedent(inspect.getsource(kind))
    headings = {
        number: line.strip("# ") for number, line in enumerate(source.splitlines(), 1) if line.startswith("    # ")
    }
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    found = {}
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            above = [heading for number, heading in headings.items() if number < statement.lineno]
            text = following.value.value  # type: ignore[attr-defined]
            found[statement.target.id] = (above[-1] if above else "", text)  # type: ignore[union-attr]
    return found


def row_of(name: str, kind: Any, default: Any, text: str) -> Row:  # noqa: ANN401 - any type, any default
    """An option as the command line has it: `--flag`, `--no-flag`, or a word and what follows it."""
    word = name.replace("_", "-")
    if kind is bool:
        switch = f"`--{word}`, `--no-{word}`" if default else f"`--{word}`"
        return Row(switch, "on" if default else "off", text)
    missing = default is None or default is inspect.Parameter.empty
    return Row(f"`--{word} {value_of(name, kind)}`", "" if missing else in_words(default), text)


def value_of(name: str, kind: Any) -> str:  # noqa: ANN401 - any type
    """What follows an option: its words, or what kind of thing it is."""
    if get_origin(kind) is Literal:
        return "|".join(word for word in get_args(kind) if word)
    choices = [each for each in get_args(kind) if each is not type(None)] if is_union(kind) else [kind]
    if len(choices) == 1 and choices[0] is not kind:
        return value_of(name, choices[0])
    if get_origin(kind) is tuple:
        return " ".join(value_of(name, each) for each in get_args(kind))
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "WORD")


def is_union(kind: Any) -> bool:  # noqa: ANN401 - any type
    """Whether a type is one of several."""
    return get_origin(kind) is Union or type(kind).__name__ == "UnionType"


def in_words(value: Any) -> str:  # noqa: ANN401 - a default, whatever its type
    """A default as a reader would type it."""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def setting_of(row: Row) -> str:
    """The name of a setting, of its option."""
    return re.sub(r"^`--(no-)?([a-z-]+).*", r"\2", row.option).replace("-", "_")


def argument_texts(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring of a function says of each argument."""
    _, _, listed = (inspect.getdoc(function) or "").partition("Args:\n")
    entries = re.split(r"\n?^    (\w+): ", listed, flags=re.MULTILINE)[1:]
    return dict(zip(entries[::2], entries[1::2], strict=True))


def table(rows: list[Row]) -> str:
    """A table in Markdown, its texts on one line each."""
    lines = ["| option | default | what it does |", "|---|---|---|"]
    lines += [f"| {escape(row.option)} | {escape(row.default)} | {escape(row.text)} |" for row in rows]
    return "\n".join([*lines, ""])


def link_to(heading: str) -> str:
    """A link to a heading of the page."""
    return f"[{heading[0].lower()}{heading[1:]}](#{heading.lower().replace(' ', '-')})"


def escape(text: str) -> str:
    """A text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
