"""The pictures of a run: found, read, and dealt out to the parts of a split."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from maskwright.config import Settings
from maskwright.data.cache import Cache, CacheFolder, Entry, build_cache, default_cache_folder
from maskwright.data.duplicates import find_near_duplicates, looks_of
from maskwright.data.groups import Groups, find_groups, prints_of_groups
from maskwright.data.pairs import Pair, Problem
from maskwright.data.reading import Formats, read_pair
from maskwright.data.resizing import resize_for
from maskwright.data.splits import apply_split, make_split, read_split
from maskwright.device import local_rank
from maskwright.training import ranks

GIGABYTE = 10**9


@dataclass(frozen=True)
class Material:
    """The pictures of a run, how they are read, and which of them are held out.

    ``looks`` say what each picture of the cache looks like, by `duplicates.looks_of`. ``unread`` names those that there
    was no time to read; they belong to no part.
    """

    cache: Cache
    formats: Formats
    split: dict[str, str]
    groups: Groups
    looks: tuple[str, ...]
    unread: tuple[str, ...] = ()

    def indices(self, part: str) -> list[int]:
        """Where in the cache the pictures of a part lie."""
        return [index for index, pair in enumerate(self.cache.pairs) if self.split[pair.name] == part]

    def groups_of(self, part: str) -> set[str]:
        """The groups that a part has pictures of."""
        return {self.groups.of[pair.name] for pair in self.pairs(part)}

    def has_foreground(self, part: str) -> bool:
        """Whether any mask of a part has a pixel of another class than the first."""
        return any(self.cache.foreground[index] > 0 for index in self.indices(part))

    def pairs(self, part: str) -> list[Pair]:
        """The pairs of a part."""
        return [self.cache.pairs[index] for index in self.indices(part)]

    def fingerprints(self, part: str) -> tuple[str, ...]:
        """What recognises the pictures of a part later."""
        return tuple(self.cache.fingerprints[index] for index in self.indices(part))

    def seen_in_training(self) -> dict[str, tuple[str, ...]]:
        """What a model file says of these pictures, so that they are recognised later; as in a `ModelCard`."""
        learnt = self.indices("train")
        names = [pair.name for pair in self.pairs("train")]
        # Other pictures of a group that copies joined to another come by the name that it had.
        ways = (self.groups.of, self.groups.unmerged or self.groups.of)
        return {
            "trained_on": self.fingerprints("train"),
            "chosen_on": self.fingerprints("val"),
            "looks": tuple(self.looks[index] for index in learnt if self.looks[index]),
            "groups": tuple(sorted({found for of in ways for found in prints_of_groups(names, of)})),
        }

    def contents(self) -> dict[str, str]:
        """A hash of what each picture and its mask hold, by its name."""
        return {pair.name: entry.content for pair, entry in zip(self.cache.pairs, self.cache.entries, strict=True)}


def read_pictures(
    pairs: Sequence[Pair],
    formats: Formats,
    settings: Settings,
    *,
    spared: Sequence[Entry] = (),
    spent: Callable[[], float] = lambda: 0.0,
    advance: Callable[[], None],
) -> tuple[Cache, tuple[Problem, ...]]:
    """Read every pair, or find it read in an earlier run; with ``spent``, as many as there is time for.

    What is ``spared`` is not cleared away for them.
    """
    return build_cache(
        pairs,
        CacheFolder(default_cache_folder(), int(settings.cache_gb * GIGABYTE), spared),
        read=functools.partial(read_pair, formats=formats),
        num_classes=formats.labels.num_classes,
        settings_key=json.dumps(asdict(formats)),
        resize=resize_for(settings),
        advance=advance,
        spent=spent,
    )


def scored_part(material: Material, *, folds: bool) -> Literal["test", "val"]:
    """The part that is scored: test where there is one, else val; of a fold, what it holds out."""
    return "test" if material.indices("test") and not folds else "val"


def kept_here(material: Material, settings: Settings) -> Material:
    """The same pictures for a rank that may be on another machine than the one that read them.

    Where they cannot be seen from here, one rank of this machine keeps them for all that are on it.
    """
    entries = material.cache.entries
    is_away = any(entry.path is not None and not entry.path.is_file() for entry in entries)
    if not any(ranks.gathered(is_away)):
        return material

    def read_again() -> Material:
        cache, _ = read_pictures(material.cache.pairs, material.formats, settings, advance=lambda: None)
        paths = {pair.name: entry.path for pair, entry in zip(cache.pairs, cache.entries, strict=True)}
        here = tuple(
            dataclasses.replace(entry, path=paths.get(pair.name))
            for pair, entry in zip(material.cache.pairs, entries, strict=True)
        )
        return dataclasses.replace(material, cache=dataclasses.replace(material.cache, entries=here))

    first = is_away and local_rank() == 0
    if first:
        material = read_again()
    ranks.gathered(first)  # the others wait, and find what was read
    return read_again() if is_away and not first else material


def deal_out(cache: Cache, formats: Formats, settings: Settings) -> Material:
    """Split the pictures that could be read, or split them as an earlier run did."""
    names = [pair.name for pair in cache.pairs]
    thumbnails, cache = cache.thumbnails(), cache.without_thumbnails()
    looks = tuple(looks_of(thumbnails))
    if settings.split is not None:
        given = {pair.name: pair.group for pair in cache.pairs}
        split = apply_split(cache.pairs, read_split(Path(settings.split)))
        return Material(cache, formats, split, find_groups(names, pattern=settings.group, given=given), looks)
    near = [(names[first], names[second]) for first, second in find_near_duplicates(thumbnails)]
    split, groups = make_split(
        cache.pairs,
        pattern=settings.group,
        val_share=settings.val_share,
        test_share=settings.test_share,
        seed=settings.seed,
        folds=settings.folds,
        fold=settings.fold or 0,
        shares=dict(zip(names, cache.foreground, strict=True)),
        near=near,
    )
    return Material(cache, formats, split, groups, looks)
