"""Processes that train together, started as torchrun starts them, from one that has torch already."""

import itertools
import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from maskwright.cli import main
from maskwright.training import loop

# What a process imports takes longer than what it does here. Optimizers import torch's compiler when they first step.
PRELOADED = ["maskwright.commands.train", "maskwright.training.diagnosis", "maskwright.training.record"]
PRELOADED += ["matplotlib.figure", "torch._dynamo", "torch.distributed.rendezvous"]


@dataclass(frozen=True)
class Strike:
    """What happens to a rank once it has learnt from its n-th batch, or instead of making the gradients of that."""

    rank: int
    batch: int
    act: Callable[[], object]
    instead: bool = False


def run_out_of_memory() -> None:
    raise MemoryError


@dataclass
class Gang:
    """The processes of a run, by their rank, and what a person at their terminal sees."""

    members: list[ForkServerProcess]
    terminal: Path

    def codes(self) -> list[int | None]:
        """What each ended with."""
        for member in self.members:
            member.join()
        return [member.exitcode for member in self.members]

    def said(self) -> str:
        return self.terminal.read_text(encoding="utf-8")


def start_gang(
    words: Sequence[str],
    terminal: Path,
    *,
    size: int = 2,
    restart: int = 0,
    environment: Mapping[str, str],
    struck: Strike | None = None,
) -> Gang:
    """Start the command in so many processes.

    Args:
        words: Of the command line.
        terminal: A file that stands for it.
        size: How many processes.
        restart: How often they were started before.
        environment: Of each, besides what torchrun sets.
        struck: What happens to one of them.
    """
    port = free_port()
    members = []
    for rank in range(size):
        known = torchrun_environment(rank, size, port, restart) if size > 1 else {}
        mine = struck if struck is not None and struck.rank == rank else None
        members.append(start(run_command, (list(words), mine), {**environment, **known}, terminal))
    return Gang(members, terminal)


def start(
    target: Callable[..., None], argument: object, environment: Mapping[str, str], terminal: Path
) -> ForkServerProcess:
    """Start a function in a process with such an environment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_become, args=(target, argument, dict(environment), terminal))
    process.start()
    return process


def torchrun_environment(rank: int, size: int, port: int, restart: int = 0) -> dict[str, str]:
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_RESTART_COUNT": str(restart),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


def run_command(given: tuple[list[str], Strike | None]) -> None:
    words, struck = given
    if struck is not None:
        room, name = loop, "add_gradients" if struck.instead else "_learn"
        calls, work = itertools.count(1), getattr(room, name)

        def work_and_strike(*arguments: Any, **options: Any) -> Any:
            is_now = next(calls) == struck.batch
            if is_now and struck.instead:
                struck.act()
            result = work(*arguments, **options)
            if is_now and not struck.instead:
                struck.act()
            return result

        setattr(room, name, work_and_strike)
    raise SystemExit(main(words))


def _become(target: Callable[..., None], argument: object, environment: Mapping[str, str], terminal: Path) -> None:
    os.setsid()
    os.environ.update(environment, OMP_NUM_THREADS="1")
    output = os.open(terminal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    target(argument)
