"""One run in a folder; other processes ask for it, since a process never refuses itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskwright.errors import InputError
from maskwright.training.lock import LOCK, locked

# Takes the folder, starts a worker that outlives it, says the worker's number, and waits.
HOLDER = """
import os, sys
from pathlib import Path
from maskwright.training.lock import locked
with locked(Path(sys.argv[1])):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_lock_dies_with_its_process_though_a_worker_lives_on(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with holder:
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        with pytest.raises(InputError, match=rf"A run is at work in {tmp_path / 'run'} \(process {holder.pid} on "):
            enter(tmp_path / "run")
        holder.kill()
        holder.wait()
        os.kill(worker, 0)  # it lives
        enter(tmp_path / "run")
        os.kill(worker, signal.SIGKILL)


def test_what_is_locked_is_made_and_goes_where_nothing_is_put_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "new"
    with locked(folder):
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert not folder.exists()
    with locked(folder):
        (folder / "config.toml").touch()
    assert [path.name for path in folder.iterdir()] == ["config.toml"]


def test_a_lock_whose_name_was_taken_away_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run ends between our opening of its file and our locking of it."""
    path = tmp_path / LOCK
    ends = [path.unlink]

    def locking(descriptor: int) -> int:
        if ends:
            ends.pop()()
        return os.fstat(descriptor).st_ino

    import fcntl

    monkeypatch.setattr(fcntl, "lockf", lambda file, _: locking(file.fileno()))
    with locked(tmp_path):
        assert path.is_file()


def enter(folder: Path) -> None:
    with locked(folder):
        pass
