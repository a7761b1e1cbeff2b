"""The folder of a run: where it lies, and what it must agree with to be resumed."""

import contextlib
import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maskwright.config import Settings, read_settings, read_started_from, write_settings
from maskwright.data.groups import Groups
from maskwright.errors import InputError
from maskwright.files import RUNS, dated_folder, previous_of, unfinished_in, write_json, write_text
from maskwright.terminal import first_few
from maskwright.training.lock import LOCK

# A run may go on on another machine, and be saved more or less often.
MACHINE_SETTINGS = ("device", "memory", "precision", "storage", "workers", "cache_gb", "tensorboard", "save_every")
# What is chosen for a run where the user leaves it open.
CHOSEN_SETTINGS = (
    "size",
    "batch_size",
    "base_channels",
    "unshuffle",
    "held_levels",
    "crop",
    "accumulate",
    "storage",
    "tint",
)
# What settings are called that make a run longer.
LENGTHS = ("epochs", "minutes")


@dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    Attributes:
        path: Where they lie.
        said_again: The words that go on with it, where ``--out`` does not name this folder.
    """

    path: Path
    said_again: str | None = None

    @property
    def again(self) -> str:
        """The words that go on with the run."""
        return self.said_again or f"the same command with --out {self.path} --resume"

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
    def previous_state(self) -> Path:
        """The state before that, for the day when the newest is damaged."""
        return previous_of(self.state)

    @property
    def is_saved(self) -> bool:
        """Whether there is a state; killed between two renames, a run leaves only the previous one."""
        return self.state.is_file() or self.previous_state.is_file()

    @property
    def is_finished(self) -> bool:
        """Whether all is learnt and scored; the scores are written last."""
        return self.scores.is_file()

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

    @property
    def machine(self) -> Path:
        """What the run took, and on which machine."""
        return self.path / "machine.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"


def fold_folder(folder: Path, fold: int) -> RunFolder:
    """Where in the folder of a cross-validation the model of a fold is."""
    return RunFolder(folder / f"fold-{fold}")


def choose_folder(out: Path | None, photos: Path, *, resume: bool) -> RunFolder:
    """The folder of a new run, or of the one to resume.

    Without ``out`` it is ``runs/<date>-<name of the photos>``; to resume, the latest that learns from these photos.

    Raises:
        InputError: ``out`` holds a run already and ``resume`` was not asked for, or something that is no run.
    """
    if out is not None:
        if out.is_file():
            raise InputError(f"--out {out} is a file; name a folder.")
        folder = RunFolder(out)
        if _holds_something(out):
            if not resume:
                raise InputError(f"{out} is not empty; continue its run with --resume, or choose another --out.")
            if not (folder.is_saved or folder.config.is_file()):
                raise InputError(f"{out} is not empty and holds no run to resume; choose another --out.")
        return folder
    name = photos.resolve().name
    earlier = latest_folder(name, photos) if resume else None
    return RunFolder(earlier or dated_folder(name))


def _holds_something(folder: Path) -> bool:
    """Whether there is more in a folder than a run that was killed in its first moments left."""
    if not folder.is_dir():
        return False
    left_behind = {folder / LOCK, *unfinished_in(folder)}
    return any(path not in left_behind for path in folder.iterdir())


def latest_folder(name: str, photos: Path, *, run: str = "") -> Path | None:
    """The latest folder of that name under ``runs/`` that holds a run on these photos.

    Args:
        name: Of the folder, without its date.
        photos: What the run learns from; another folder may be called the same.
        run: Where in the folder the run lies.
    """
    stem = f"????-??-??-??????-{glob.escape(name)}"
    folders = (path for pattern in (stem, f"{stem}-[0-9]") for path in RUNS.glob(pattern))
    latest_first = sorted(folders, reverse=True)
    return next((path for path in latest_first if _learns_from(RunFolder(path / run), photos)), None)


def _learns_from(folder: RunFolder, photos: Path) -> bool:
    """Whether a folder holds a run on these photos, or one that does not say on which."""
    return folder.config.is_file() and _read_split(folder).get("photos") in (None, str(photos.resolve()))


def _read_split(folder: RunFolder) -> dict[str, Any]:
    """What a run says of its pictures; nothing where that cannot be read, which `check_settings` tells."""
    try:
        content: dict[str, Any] = json.loads(folder.split.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def read_unread(folder: RunFolder) -> set[str]:
    """Pictures that a run left out because there was no time to read them."""
    return set(_read_split(folder).get("unread", []))


def as_started(folder: RunFolder, settings: Settings) -> Settings:
    """The settings to resume a run with: what was left open is as it was chosen, a rate that was searched as found."""
    if not (folder.is_saved or folder.is_finished) or not folder.config.is_file():
        return settings
    earlier = _with_levels(read_settings(folder.config))
    known = {name: getattr(earlier, name) for name in CHOSEN_SETTINGS if getattr(settings, name) is None}
    if settings.find_rate:
        known["learning_rate"] = earlier.learning_rate
    return replace(settings, **known)


def _with_levels(settings: Settings) -> Settings:
    """Settings that say how many levels are held: none, where a run is from before any could be."""
    return replace(settings, held_levels=settings.held_levels or 0)


def start_run(
    folder: RunFolder,
    settings: Settings,
    split: Mapping[str, str],
    groups: Groups,
    unread: Sequence[str] = (),
    *,
    contents: Mapping[str, str] | None = None,
    photos: Path | None = None,
    started_from: Mapping[str, str] | None = None,
) -> None:
    """Write what a new run is made of; what one without a saved state left there goes.

    Args:
        folder: Of the run.
        settings: Nothing in them is open any more.
        split: The part of each picture.
        groups: The group of each.
        unread: Pictures that there was no time to read.
        contents: A hash of what each picture and its mask hold.
        photos: Where they all lie.
        started_from: What is known of the model that the run starts from: ``name``, ``fingerprint``, ``path``.
    """
    for left_behind in (folder.metrics, folder.health, folder.rates):
        left_behind.unlink(missing_ok=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_settings(folder.config, settings, started_from=started_from)
    _write_split(folder, split, groups, unread, contents, photos)


def _write_split(
    folder: RunFolder,
    split: Mapping[str, str],
    groups: Groups,
    unread: Sequence[str],
    contents: Mapping[str, str] | None,
    photos: Path | None,
) -> None:
    """Write which picture is in which part and why, which there was no time to read, what they hold, and where."""
    parts = {part: sorted(name for name in split if split[name] == part) for part in ("train", "val", "test")}
    held_out = {part: sorted({groups.of[name] for name in names}) for part, names in parts.items()}
    content: dict[str, object] = {"rule": groups.rule, "pictures": parts, "groups": held_out}
    if unread:
        content["unread"] = sorted(unread)
    if contents:
        content["contents"] = dict(sorted(contents.items()))
    if photos is not None:
        content["photos"] = str(photos.resolve())
    write_json(folder.split, content)


def check_settings(folder: RunFolder, settings: Settings, *, started_from: Mapping[str, str] | None = None) -> None:
    """Refuse to go on with a run under other settings, or from another model.

    Raises:
        InputError: They differ; the sentence says in what.
    """
    if not (folder.config.is_file() and folder.split.is_file()):
        raise InputError(f"{folder.path} lost its config.toml or split.json and cannot be resumed; start a new run.")
    _check_start(folder, started_from or {})
    earlier, now = asdict(_with_levels(read_settings(folder.config))), asdict(_with_levels(settings))
    changed = [name for name in earlier if now[name] != earlier[name] and name not in MACHINE_SETTINGS]
    if not changed:
        return
    said = "; ".join(f"--{name.replace('_', '-')} {earlier[name]}, not {now[name]}" for name in changed)
    if any(name in LENGTHS and _is_longer(now[name], earlier[name]) for name in changed):
        raise InputError(
            f"{folder.path} was started with {said}, and its schedule ends there: for more, start a new run from its "
            f"weights, with --from {folder.model}."
        )
    raise InputError(f"{folder.path} was started with {said}: repeat its options to resume it.")


def check_pictures(folder: RunFolder, split: Mapping[str, str], contents: Mapping[str, str]) -> None:
    """Refuse to go on with a run on other pictures.

    Args:
        folder: Of the run.
        split: The part of each picture, as it is now.
        contents: A hash of what each picture and its mask hold now.

    Raises:
        InputError: The pictures differ; the sentence names them.
    """
    earlier = json.loads(folder.split.read_text(encoding="utf-8"))
    parts = {name: part for part, names in earlier["pictures"].items() for name in names}
    held = earlier.get("contents", {})
    both = parts.keys() & split.keys()
    changes = {
        "new": split.keys() - parts.keys(),
        "gone": parts.keys() - split.keys(),
        "in another part": {name for name in both if parts[name] != split[name]},
        "with another content": {name for name in both & held.keys() if held[name] != contents.get(name)},
    }
    said = [
        f"{first_few(sorted(names))} {'is' if len(names) == 1 else 'are'} {how}"
        for how, names in changes.items()
        if names
    ]
    if said:
        raise InputError(
            f"The pictures or their masks changed since {folder.path} was started ({'; '.join(said)}): put them back "
            f"to resume it, or start a new run; --from {folder.model} goes on from its weights."
        )


def _is_longer(now: Any, earlier: Any) -> bool:  # noqa: ANN401 - a number, or None where there is none
    return now is not None and earlier is not None and now > earlier


def _check_start(folder: RunFolder, now: Mapping[str, str]) -> None:
    earlier = read_started_from(folder.config)
    if earlier.get("fingerprint") == now.get("fingerprint"):
        return
    if not earlier:
        raise InputError(f"{folder.path} was started without --from: repeat its options to resume it.")
    changed = ", a file that has changed since" if now.get("name") == earlier["name"] else ""
    raise InputError(f"{folder.path} was started --from {earlier['name']}{changed}: repeat its options to resume it.")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_metrics(path: Path, lines: Sequence[str]) -> None:
    """Add the last line to a file that has the others; write them all where it has not."""
    text = "".join(lines)
    with contextlib.suppress(FileNotFoundError, IndexError):
        if path.stat().st_size == len(text.encode()) - len(lines[-1].encode()):
            with path.open("a", encoding="utf-8") as file:
                file.write(lines[-1])
            return
    write_text(path, text)
