"""The folder of a run: where it lies, and what it must agree with to be resumed."""

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from maskwright.config import Settings, read_settings, read_started_from, write_settings
from maskwright.data.groups import Groups
from maskwright.errors import InputError
from maskwright.files import RUNS, dated_folder, write_json, write_text

# A run may go on on another machine.
MACHINE_SETTINGS = ("device", "memory", "precision", "storage", "workers", "cache_gb", "tensorboard")


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def model(self) -> Path:
        """Best weights."""
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        """Weights at the end."""
        return self.path / "last.safetensors"

    @property
    def state(self) -> Path:
        """What a resume needs."""
        return self.path / "state.pth"

    @property
    def metrics(self) -> Path:
        """A line of JSON for each epoch."""
        return self.path / "metrics.jsonl"

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "config.toml"

    @property
    def split(self) -> Path:
        """Which picture belongs to which part."""
        return self.path / "split.json"

    @property
    def scores(self) -> Path:
        """Scores of the best weights at the pictures' own size."""
        return self.path / "scores.json"

    @property
    def health(self) -> Path:
        """What was found of how the training does."""
        return self.path / "health.json"

    @property
    def rates(self) -> Path:
        """A picture of the search for a learning rate."""
        return self.path / "rates.png"

    @property
    def curves(self) -> Path:
        """A picture of the metrics."""
        return self.path / "curves.png"


def choose_folder(out: Path | None, name: str, *, resume: bool) -> RunFolder:
    """The folder of a new run, or of the one to resume.

    Without ``out`` it is ``runs/<date>-<name>``; to resume, the latest of that name.

    Raises:
        InputError: ``out`` holds a run already and ``resume`` was not asked for, or something that is no run.
    """
    if out is not None:
        if out.is_file():
            raise InputError(f"--out {out} is a file; name a folder.")
        folder = RunFolder(out)
        if out.is_dir() and any(out.iterdir()):
            if not resume:
                raise InputError(f"{out} is not empty; continue its run with --resume, or choose another --out.")
            if not (folder.state.is_file() or folder.config.is_file()):
                raise InputError(f"{out} is not empty and holds no run to resume; choose another --out.")
        return folder
    if resume:
        earlier = latest_folder(name, "state.pth")
        if earlier is not None:
            return RunFolder(earlier)
    return RunFolder(dated_folder(name))


def latest_folder(name: str, marker: str) -> Path | None:
    """The latest folder of that name under ``runs/`` that holds a certain file."""
    stem = f"????-??-??-??????-{glob.escape(name)}"
    folders = (path for pattern in (stem, f"{stem}-[0-9]") for path in RUNS.glob(pattern))
    return max((path for path in folders if (path / marker).is_file()), default=None)


def write_split(
    folder: RunFolder, split: Mapping[str, str], groups: Groups, unread: Sequence[str] = (), photos: Path | None = None
) -> None:
    """Write which picture belongs to which part, and why; which were not read for want of time; where they all lie."""
    parts = {part: sorted(name for name in split if split[name] == part) for part in ("train", "val", "test")}
    held_out = {part: sorted({groups.of[name] for name in names}) for part, names in parts.items()}
    content: dict[str, object] = {"rule": groups.rule, "pictures": parts, "groups": held_out}
    if unread:
        content["unread"] = sorted(unread)
    if photos is not None:
        content["photos"] = str(photos.resolve())
    write_json(folder.split, content)


def read_unread(folder: RunFolder) -> set[str]:
    """Pictures that a run left out because there was no time to read them."""
    try:
        return set(json.loads(folder.split.read_text(encoding="utf-8")).get("unread", []))
    except (OSError, ValueError):
        return set()  # `open_run` says what is the matter with the run


def open_run(
    folder: RunFolder,
    settings: Settings,
    split: Mapping[str, str],
    groups: Groups,
    unread: Sequence[str] = (),
    *,
    photos: Path | None = None,
    started_from: Mapping[str, str] | None = None,
) -> bool:
    """Open a run folder: with a state in it, check that the run is the same one; without, begin it anew.

    A new run writes its settings and its split, and what a run without a saved state left there goes. ``started_from``
    is what is known of the model that the run starts from, its ``name`` and ``fingerprint``.

    Returns:
        Whether there is a run to resume.

    Raises:
        InputError: The settings, the pictures or the model to start from differ from those of the run.
    """
    if not folder.state.is_file():
        for left_behind in (folder.metrics, folder.health, folder.rates):
            left_behind.unlink(missing_ok=True)
        folder.path.mkdir(parents=True, exist_ok=True)
        write_settings(folder.config, settings, started_from=started_from)
        write_split(folder, split, groups, unread, photos)
        return False
    if not (folder.config.is_file() and folder.split.is_file()):
        raise InputError(f"{folder.path} lost its config.toml or split.json and cannot be resumed; start a new run.")
    _check_start(folder, started_from or {})
    earlier, now = asdict(read_settings(folder.config)), asdict(settings)
    for name, value in earlier.items():
        if now[name] != value and name not in MACHINE_SETTINGS:
            word = name.replace("_", "-")
            raise InputError(
                f"{folder.path} was started with --{word} {value}, not {now[name]}: repeat its options to resume it."
            )
    pictures = json.loads(folder.split.read_text(encoding="utf-8"))["pictures"]
    parts = {name: part for part, names in pictures.items() for name in names}
    if parts != dict(split):
        changed = sorted(set(parts.items()) ^ set(split.items()))[0][0]
        raise InputError(
            f"The pictures changed since {folder.path} was started ({changed} is new, gone, or in another part); "
            "start a new run."
        )
    return True


def with_searched_rate(folder: RunFolder, settings: Settings) -> Settings:
    """The settings to resume a run with: with `--find-rate`, the learning rate is what its search found."""
    if not (settings.find_rate and folder.state.is_file() and folder.config.is_file()):
        return settings
    return replace(settings, learning_rate=read_settings(folder.config).learning_rate)


def _check_start(folder: RunFolder, now: Mapping[str, str]) -> None:
    earlier = read_started_from(folder.config)
    if earlier.get("fingerprint") == now.get("fingerprint"):
        return
    if not earlier:
        raise InputError(f"{folder.path} was started without --from: repeat its options to resume it.")
    changed = ", a file that has changed since" if now.get("name") == earlier["name"] else ""
    raise InputError(f"{folder.path} was started --from {earlier['name']}{changed}: repeat its options to resume it.")


def keep_metrics_until(path: Path, step: int) -> None:
    """Drop the lines that were written after the state that is resumed from, and one that was never finished."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    write_text(path, "".join(line for line in whole if json.loads(line)["step"] <= step))
