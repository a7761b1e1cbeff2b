"""The processes of one run: who this one is, and how they agree.

torchrun starts them; each is a rank, and rank 0 is the writer: what is decided once is decided there, and only it
writes the run's files. Where a process was started by itself everything here is the identity, and no torch is imported.

All ranks call the functions that talk (`on_writer`, `gathered`, `total`, `Pulse.beat`) at the same places, in the same
order. One that ends in between is noticed by the others: they end too, and say nothing.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from maskwright import terminal
from maskwright.device import local_rank
from maskwright.errors import InputError, OthersEndedError

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")

# Others wait for the writer while it reads pictures and looks at the machine, which may take hours.
PATIENCE = timedelta(days=2)
# Between two looks for those that have not begun yet.
LOOK_SECONDS = 0.1
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
# Where a command that starts torchrun says when it began itself: its minutes are theirs.
COMMAND_BEGAN = "_MASKWRIGHT_BEGAN"
# What gloo, NCCL and the store say when a process at the other end has ended.
_ENDED = re.compile(r"gloo|nccl|tcpstore|(connection|socket).*(closed|reset|refused|failed)|broken pipe", re.IGNORECASE)


class _Company:
    """Which of how many this process is; of one where nobody joined."""

    rank, size = 0, 1
    # torchrun's, in which all can put numbers; None where nobody joined.
    store: Any = None
    # Where the terminal is, once standard output and error are those of a log.
    terminal = STANDARD_ERROR


_company = _Company()


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that torchrun started, if it did, until the end of the block.

    Raises:
        InputError: torchrun was started in a way in which no restart could succeed.
        OthersEndedError: One of the others ended before the block did.
    """
    if local_rank() is None or _company.size > 1:
        yield
        return
    if _is_on_several_machines() and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and _keeps_its_store():
        raise InputError(
            "Over restarts, torchrun keeps the addresses of processes that have ended: on several machines, export "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before it, or leave --max-restarts out."
        )
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    with noticing():
        store, rank, size = next(rendezvous("env://"))
        store.set_timeout(PATIENCE)
        if not _is_on_several_machines():  # where torchrun counts restarts by machine
            # torchrun keeps its store, in which gloo would find the addresses of those that have ended.
            store = PrefixStore(f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        _wait_for_all(store, rank, size)
        # Agreements go over gloo on GPUs too; their gradients have a group of their own.
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)
    _company.rank, _company.size, _company.store = rank, size, store
    try:
        yield
        dist.destroy_process_group()  # after an error it might wait for processes that are no more
    finally:
        _company.rank, _company.size = _Company.rank, _Company.size


def _wait_for_all(store: Any, rank: int, size: int) -> None:  # noqa: ANN401 - torch's
    """Wait until all have begun, where a signal is heard; where torch itself waits none is.

    One that is killed while it imports torch would be missed by nobody, and torchrun asks the others to stop.
    """
    everyone = [f"rank {number} has begun" for number in range(size)]
    store.set(everyone[rank], "yes")
    while not store.check(everyone):
        time.sleep(LOOK_SECONDS)


def _keeps_its_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE", "False") == "True"


def _is_on_several_machines() -> bool:
    return os.environ.get("GROUP_WORLD_SIZE", "1") != "1"


def rank() -> int:
    """Which of the processes this one is, from 0."""
    return _company.rank


def size() -> int:
    """How many there are."""
    return _company.size


def is_writer() -> bool:
    """Whether this one decides and writes."""
    return _company.rank == 0


def was_restarted() -> bool:
    """Whether torchrun started the processes again after one of them had ended."""
    return local_rank() is not None and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def on_writer(work: Callable[[], Result]) -> Result:
    """What a work gives that only the writer does; the others wait for it.

    Raises:
        InputError: The writer's, everywhere.
        OthersEndedError: The writer ended.
    """
    if _company.size == 1:
        return work()
    import torch.distributed as dist

    told: list[Any] = [(None, None)]
    error: InputError | None = None
    if is_writer():
        try:
            told[0] = work(), None
        except InputError as refusal:
            error, told[0] = refusal, (None, str(refusal))
    with noticing():
        dist.broadcast_object_list(told)
    result: Result
    result, sentence = told[0]
    if sentence is not None:
        raise error or InputError(sentence)
    return result


def check_devices(device: str) -> None:
    """See that all ranks compute on the same kind of device.

    Raises:
        InputError: They do not.
    """
    if len(set(gathered(device.partition(":")[0]))) > 1:
        raise InputError("Some of the processes find a GPU and others none: say --device cpu, or mend those.")


def gathered(value: Result) -> list[Result]:
    """What all ranks have, in their order."""
    if _company.size == 1:
        return [value]
    import torch.distributed as dist

    found: list[Any] = [None] * _company.size
    with noticing():
        dist.all_gather_object(found, value)
    return found


def in_order(shares: Sequence[Sequence[Result]]) -> list[Result]:
    """What all ranks made of their shares, in the order of the whole: each had every n-th, from its rank on.

    >>> in_order(["adg", "be", "cf"])
    ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    """
    longest = max(len(share) for share in shares)
    return [share[place] for place in range(longest) for share in shares if place < len(share)]


def total(tensor: "Tensor") -> "Tensor":
    """The sum of a tensor in main memory over all ranks, the same bits everywhere."""
    if _company.size == 1:
        return tensor
    import torch.distributed as dist

    summed = tensor.detach().clone()
    with noticing():
        dist.all_reduce(summed)
    return summed


def share_of(count: int) -> slice:
    """Which of so many things side by side are this rank's."""
    return slice(count * _company.rank // _company.size, count * (_company.rank + 1) // _company.size)


def every_nth() -> slice:
    """Which of things in a row are this rank's; see `in_order`."""
    return slice(_company.rank, None, _company.size)


class Pulse:
    """The clock, and whether a signal asked to stop: what all ranks go by, from one beat to the next.

    Args:
        now: The clock of this process, in seconds. That of the writer counts.
        stop_asked: Whether this process was asked. If one was, all are.
    """

    def __init__(self, now: Callable[[], float], stop_asked: Callable[[], bool]) -> None:
        self._now, self.asked_here = now, stop_asked
        self._time, self._asked = 0.0, False
        self.beat()

    def beat(self) -> None:
        """Agree anew."""
        if _company.size == 1:
            return
        import torch

        ours = torch.tensor([self._now() if is_writer() else 0.0, float(self.asked_here())], dtype=torch.float64)
        self._time, asked = total(ours).tolist()
        self._asked = asked > 0

    def now(self) -> float:
        """The writer's clock at the last beat."""
        return self._now() if _company.size == 1 else self._time

    def stop_asked(self) -> bool:
        """Whether anybody had been asked to stop by then."""
        return self.asked_here() if _company.size == 1 else self._asked


def write_log(folder: Path) -> None:
    """Let what this process prints go to a log of its own in a folder; that of the writer goes where it went."""
    if is_writer():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if _company.terminal == STANDARD_ERROR:
        _company.terminal = os.dup(STANDARD_ERROR)
    log = os.open(log_path(folder, rank()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, STANDARD_OUTPUT)
    os.dup2(log, STANDARD_ERROR)
    os.close(log)
    terminal.say(f"Rank {rank()} of {size()}, process {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}")


def log_path(folder: Path, number: int) -> Path:
    """Where a rank other than the writer says what it does."""
    return folder / f"rank-{number}.log"


def last_word(sentence: str) -> None:
    """Say why this process ends: in its log, and where a person sees it if no other rank has said anything before.

    All may end for the same reason.
    """
    is_first, has_log = _is_first_to_speak(), _company.terminal != STANDARD_ERROR
    if has_log and is_first:
        os.write(_company.terminal, f"{terminal.printable(sentence)}\n".encode())
    if has_log or is_first:
        terminal.warn(sentence)


def _is_first_to_speak() -> bool:
    if _company.store is None:
        return local_rank() in (None, 0)
    try:
        return bool(_company.store.add("last word", 1) == 1)
    except RuntimeError:  # it went with the process that kept it, which has spoken
        return local_rank() in (None, 0)


def others_ended(error: BaseException) -> bool:
    """Whether an error says that a process of this run has ended."""
    return isinstance(error, OthersEndedError) or (_company.size > 1 and _tells_of_an_end(error))


@contextmanager
def noticing() -> Iterator[None]:
    """Tell the end of another rank from other errors.

    Raises:
        OthersEndedError: One has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not _tells_of_an_end(error):
            raise
        raise OthersEndedError from error


def _tells_of_an_end(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and _ENDED.search(str(error)) is not None
