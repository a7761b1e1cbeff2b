"""What is to be said about a folder of photographs and masks, and the words that it is said in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from maskwright.data.examination import Picture
from maskwright.data.groups import Groups
from maskwright.data.labels import describe_raw
from maskwright.data.reading import Formats
from maskwright.terminal import printable

Level = Literal["problem", "question", "warning", "note"]
LEVELS: tuple[Level, ...] = ("problem", "question", "warning", "note")
"""From what training refuses to what is merely said."""


@dataclass(frozen=True)
class Finding:
    """Something that was found in a folder.

    Attributes:
        kind: Two or three words that stay the same, for scripts.
        level: A problem stops training; a question could mean two things, and an option answers it; with a warning,
            training goes on but its scores suffer; a note is said, and nothing is to be done.
        sentence: What was found.
        remedy: What to do about it, or what is done by itself.
        files: What it is about, below the folder, each with a sentence of its own or "".
    """

    kind: str
    level: Level
    sentence: str
    remedy: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassShare:
    """How much of a data set is one class.

    Attributes:
        name: Of the class.
        share: Of all pixels that count.
        pictures: How many show it.
        raw: The raw values that stand for it, as a user writes them.
    """

    name: str
    share: float
    pictures: int
    raw: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Everything that is to be said about a folder.

    Attributes:
        folder: That was looked at.
        layout: How images and masks lie in it, in one phrase.
        formats: How its files are read.
        pictures: Those that can be used.
        size: The longer side of training that findings go by.
        groups: Which pictures belong together.
        split: The part that training would put each picture into, by name; empty where there can be no split.
        findings: The gravest first.
    """

    folder: Path
    layout: str
    formats: Formats
    pictures: tuple[Picture, ...]
    size: int
    groups: Groups
    split: Mapping[str, str]
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Literal["clean", "findings", "unusable"]:
        """Clean with nothing but notes; unusable where no picture can be used."""
        if not self.pictures:
            return "unusable"
        return "clean" if all(finding.level == "note" for finding in self.findings) else "findings"

    def name_of(self, picture: Picture) -> str:
        """The image, as findings name it."""
        return shown_name(picture.pair.image, self.folder)

    def part_of(self, picture: Picture) -> str | None:
        """The part of the split; None where there can be none."""
        return self.split.get(picture.pair.name)

    def classes(self) -> list[ClassShare]:
        """The balance of the classes, in their order."""
        labels = self.formats.labels
        totals = [sum(counts) for counts in zip(*(picture.counts for picture in self.pictures), strict=True)]
        return [
            ClassShare(
                name,
                totals[index] / max(1, sum(totals[:-1])),
                sum(picture.counts[index] > 0 for picture in self.pictures),
                tuple(map(describe_raw, labels.values[index])) if index < len(labels.values) else (),
            )
            for index, name in enumerate(labels.class_names if totals else ())
        ]

    def parts(self) -> dict[str, tuple[int, int]]:
        """Pictures and groups of each part of the split."""
        members = {part: [name for name in self.split if self.split[name] == part] for part in ("train", "val", "test")}
        return {
            part: (len(names), len({self.groups.of[name] for name in names}))
            for part, names in members.items()
            if names
        }

    def bound(self) -> dict[int, float]:
        """The mean of the best Dice that the masks could reach, by longer side; up to that of the largest picture."""
        measured = [picture.bound for picture in self.pictures if picture.bound]
        largest = max((max(picture.size) for picture in self.pictures), default=0)
        sides = sorted(measured[0]) if measured else []
        enough = next((side for side in sides if side >= largest), inf)
        return {side: fmean(bound[side] for bound in measured) for side in sides if side <= max(enough, self.size)}

    def sizes(self) -> list[tuple[int, int]]:
        """Widths and heights of the pictures, the smallest area first."""
        return sorted((picture.size[::-1] for picture in self.pictures), key=lambda size: (size[0] * size[1], size))

    def to_json(self) -> dict[str, Any]:
        """The report for scripts."""
        sizes = self.sizes()
        return {
            "photos": str(self.folder),
            "verdict": self.verdict,
            "layout": self.layout,
            "pictures": len(self.pictures),
            "findings": [
                {
                    "kind": finding.kind,
                    "level": finding.level,
                    "sentence": finding.sentence,
                    "remedy": finding.remedy,
                    "files": dict(finding.files),
                }
                for finding in self.findings
            ],
            "masks": self.formats.labels.kind,
            "ignored": [describe_raw(raw) for raw in self.formats.labels.ignore],
            "classes": [
                {"name": some.name, "raw": list(some.raw), "share": some.share, "pictures": some.pictures}
                for some in self.classes()
            ],
            "groups": {"rule": self.groups.rule, "count": len(set(self.groups.of.values()))},
            "split": {part: {"pictures": some, "groups": groups} for part, (some, groups) in self.parts().items()},
            "sizes": {"smallest": sizes[0], "median": sizes[len(sizes) // 2], "largest": sizes[-1]} if sizes else {},
            "resolution": [{"longer_side": side, "best_dice": best} for side, best in self.bound().items()],
        }


def shown_name(path: Path, folder: Path) -> str:
    """A path as the report names it: below the folder where it lies there, and printable whatever it is."""
    relative = path.relative_to(folder) if path.is_relative_to(folder) else path
    return printable(relative.as_posix())


def counted(number: int, word: str) -> str:
    """A number of things in words.

    >>> counted(1, "picture"), counted(1200, "class")
    ('1 picture', '1,200 classes')
    """
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{number:,} {word if number == 1 else plural}"


def agreeing(sentence: str, number: int) -> str:
    """The sentence with those of its ``[singular|plural]`` words that fit the number."""
    return re.sub(r"\[([^|\]]*)\|([^]]*)\]", lambda words: words[1 if number == 1 else 2], sentence)
