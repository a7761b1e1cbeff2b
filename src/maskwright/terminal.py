"""What a person sees while a command works: sentences, tables and progress bars.

Results go to standard output and progress to standard error, so that a pipe gets results alone. Where standard error is
no terminal, a bar becomes a plain line now and then.
"""

import json
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

# What moves the cursor, turns the writing around or cannot be written: controls, formats, surrogates, other line ends.
_ORDERS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Names in a sentence.
MOST_IN_A_SENTENCE = 6
# Seconds between two lines where there is no terminal.
LINE_SECONDS = 10.0


@cache
def output() -> Console:
    """Standard output."""
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


@cache
def errors() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def printable(text: str, *, keep: str = "") -> str:
    r"""Text in which a terminal finds no orders, such as names of files may hold: they become escapes of JSON.

    >>> printable("\x1b[2J.png")
    '\\u001b[2J.png'

    Args:
        text: Anything.
        keep: Characters that are left as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        json.dumps(char)[1:-1] if unicodedata.category(char) in _ORDERS and char not in keep else char for char in text
    )


def first_few(names: Sequence[str]) -> str:
    """As many names as a sentence bears, and how many more there are."""
    more = f" and {len(names) - MOST_IN_A_SENTENCE} more" if len(names) > MOST_IN_A_SENTENCE else ""
    return ", ".join(names[:MOST_IN_A_SENTENCE]) + more


def say(sentence: str) -> None:
    """Print a sentence; its lines stay lines."""
    output().print(printable(sentence, keep="\n"))


def warn(sentence: str) -> None:
    """Print a sentence that should not be missed."""
    errors().print(printable(sentence, keep="\n"), style="yellow")


def warn_loudly(sentence: str) -> None:
    """Print a sentence that turns the figures beside it to nothing, in bold."""
    errors().print(printable(sentence, keep="\n"), style="bold red")


def show_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose first column is text and whose others are figures."""
    table = Table(title=printable(title), title_justify="left", title_style="bold")
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="left" if column == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    output().print(table)


@contextmanager
def counting(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how many of ``total`` things are done; yields what to call after each."""
    with _bar(description, total) as update:
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            update(done, f"{done}/{total}")

        yield advance


@contextmanager
def progressing(description: str) -> Iterator[Callable[[float, str], None]]:
    """Show a share of 1 that is done and a text; yields what to call with both."""
    with _bar(description, 1.0) as update:
        yield update


@contextmanager
def _bar(description: str, total: float) -> Iterator[Callable[[float, str], None]]:
    console = errors()
    if not console.is_terminal:
        yield _plain_lines(description, total)
        return
    count: list[ProgressColumn] = [TextColumn("{task.fields[text]}", markup=False)]
    if isinstance(total, int):
        count = [MofNCompleteColumn(), _RateColumn()]
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        *count,
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total, text="")
        yield lambda done, text: progress.update(task, completed=done, text=text)


def _plain_lines(description: str, total: float) -> Callable[[float, str], None]:
    """A line at the end and every few seconds before it, with the time that is left."""
    started = written = time.monotonic()

    def update(done: float, text: str) -> None:
        nonlocal written
        now = time.monotonic()
        if now - written < LINE_SECONDS and done < total:
            return
        written = now
        left = (now - started) * (total - done) / done if done else 0
        rate = f"{_rate(done / (now - started))}, " if isinstance(total, int) and done and now > started else ""
        errors().print(f"{description}: {text} ({rate}{left:.0f} s left)")

    return update


class _RateColumn(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        return Text(_rate(task.speed) if task.speed else "")


def _rate(speed: float) -> str:
    return f"{speed:.1f}/s" if speed < 100 else f"{speed:.0f}/s"
