"""The folds that all systems are compared on: made once by our own `--folds 3 --seed 0`, and kept in results/folds/."""

import functools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from maskwright import terminal
from maskwright.config import MaskSettings, Settings
from maskwright.data.cache import CacheFolder, build_cache
from maskwright.data.finding import find_dataset
from maskwright.data.label_survey import read_options
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, choose_formats, read_pair
from maskwright.data.resizing import Resize
from maskwright.files import write_json
from maskwright.training.material import deal_out

KEPT = Path(__file__).parent / "results" / "folds"
FOLDS = 3
# The folds are made of pictures at this size, whatever the runs are told.
FOLD_SIZE = 384


@dataclass(frozen=True)
class HeldOut:
    """The pictures that a cell is scored on: how they are read, and which belong together."""

    pairs: list[Pair]
    formats: Formats
    groups: dict[str, str]
    learnt: int


def fold_file(photos: Path, fold: int, *, folder: Path = KEPT) -> Path:
    """The split of a fold, made where it is not kept yet."""
    path = folder / f"{photos.name}_{fold}.json"
    if path.is_file():
        return path
    pairing = find_dataset(photos)
    formats = formats_of(photos)
    settings = Settings(folds=FOLDS, fold=fold, seed=0)
    with tempfile.TemporaryDirectory() as scratch, terminal.counting("Reading", len(pairing.pairs)) as advance:
        cache, problems = build_cache(
            pairing.pairs,
            CacheFolder(Path(scratch)),
            read=functools.partial(read_pair, formats=formats),
            num_classes=formats.labels.num_classes,
            settings_key="folds",
            resize=Resize(size=FOLD_SIZE),
            advance=advance,
        )
        assert not problems, problems
        material = deal_out(cache, formats, settings)
    parts = {part: sorted(pair.name for pair in material.pairs(part)) for part in ("train", "val")}
    groups = {name: material.groups.of[name] for name in sorted(material.split)}
    write_json(path, {"rule": material.groups.rule, "pictures": parts, "group_of": groups})
    return path


def formats_of(photos: Path) -> Formats:
    """How the files of a set are read."""
    pairing = find_dataset(photos)
    return choose_formats(pairing.pairs, read_options(MaskSettings(), pairing.classes), advance=lambda: None)[0]


def held_out(photos: Path, split: Path) -> HeldOut:
    """The pictures of the fold."""
    content = json.loads(split.read_text(encoding="utf-8"))
    names = set(content["pictures"]["val"])
    pairs = [pair for pair in find_dataset(photos).pairs if pair.name in names]
    return HeldOut(pairs, formats_of(photos), content["group_of"], len(content["pictures"]["train"]))
