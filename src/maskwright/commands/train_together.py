"""`maskwright train --gpus N`: torchrun in this process, which starts N that train together on this machine."""

import json
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maskwright import terminal
from maskwright.device import gpu_count, require_torch
from maskwright.errors import InputError
from maskwright.training.ranks import COMMAND_BEGAN, log_path
from maskwright.training.run_folder import RunFolder, choose_folder

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

# All that ask a run to stop; torchrun passes them on to its processes.
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
# Seconds for a step and a save, after which torchrun kills what it asked to stop; by itself it waits 30.
STOPPING_SECONDS = "600"


Ending = Literal["finished", "finished with failures", "stopped", "failed"]


def train_together(
    words: Sequence[str],
    photos: Path,
    count: int,
    *,
    max_restarts: int,
    out: Path | None,
    resume: bool,
    began: float | None,
) -> Ending:
    """Let as many processes train as were asked for, each with the words of this command.

    Args:
        words: Of the command line, the first of them ``train``.
        photos: The folder, as the words have it; likewise what follows.
        count: How many processes; see `count_processes`.
        max_restarts: How often all are started again after one has died.
        out: The run folder.
        resume: Whether a run is to go on.
        began: What `time.monotonic` said when the command began; its minutes count from there.

    Returns:
        How it ended. What went wrong has been said.

    Raises:
        InputError: The run folder cannot be used.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    folder = choose_folder(out, photos, resume=resume)
    words = words if out else [*words, "--out", str(folder.path)]
    if began is not None:
        os.environ[COMMAND_BEGAN] = str(began)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", STOPPING_SECONDS)
    logging.disable(logging.CRITICAL)  # the run says what there is to say
    torchrun = ["--standalone", "--nproc-per-node", str(count), "--max-restarts", str(max_restarts)]
    torchrun += ["--signals-to-handle", SIGNALS, "-m", "maskwright", *words]
    try:
        run(parse_args(torchrun))  # type: ignore[no-untyped-call]
    except SignalException:
        return _finished(folder) if folder.is_finished else "stopped"
    except ChildFailedError as error:
        _tell(error, folder)
        return "failed"
    return _finished(folder)


def _finished(folder: RunFolder) -> Ending:
    """How a run has ended that has scores: pictures that have none were named by the process that tried."""
    scores = json.loads(folder.scores.read_text(encoding="utf-8"))
    return "finished with failures" if scores["problems"] else "finished"


def count_processes(gpus: int | None, processes: int | None, device: str) -> int:
    """How many processes are asked for, one for each GPU or so many on the CPU.

    Raises:
        InputError: The words do not agree, or there are fewer GPUs.
    """
    if gpus is not None and processes is not None:
        raise InputError("--gpus and --processes exclude each other: --processes trains on the CPU.")
    count = gpus or processes or 0
    if count < 1:
        raise InputError("--gpus and --processes count from 1.")
    kinds = ("auto", "cuda") if gpus else ("auto", "cpu")
    if device not in kinds:
        raise InputError(f"--{'gpus' if gpus else 'processes'} trains on {kinds[1]}, not on --device {device}.")
    require_torch()
    if gpus is not None and (found := gpu_count()) < gpus:
        raise InputError(
            f"--gpus {gpus} was asked for, and torch finds {found or 'none'} on this machine; --processes {gpus} "
            "trains in as many processes on the CPU."
        )
    return count


def _tell(error: "ChildFailedError", folder: RunFolder) -> None:
    """Say which process ended and why, where it could not say so by itself; torchrun ended the others."""
    for rank, failure in sorted(error.failures.items()):
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            killed = signal.Signals(-failure.exitcode).name
            terminal.warn(
                f"Process {rank} of this run was killed ({killed}), by the system if memory ran out: the same command "
                f"with --out {folder.path} --resume goes on from where it was saved, and --max-restarts 3 would do so "
                "by itself."
            )
            return
    for rank, failure in sorted(error.failures.items()):
        if failure.exitcode == 1 and rank > 0:  # an error of ours: that of rank 0 stands above
            terminal.warn(f"Process {rank} of this run failed; {log_path(folder.path, rank)} says how.")
            return
