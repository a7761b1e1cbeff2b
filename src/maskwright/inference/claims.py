"""Whose the results in a folder are: of which picture, as it was then, and made by what.

Before a picture's results are written, a line of `.predict/results.jsonl` says so, and what an earlier line left under
the same names has been taken away. So what lies there belongs to the newest line about it, whenever a run was stopped.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from maskwright.data.folder_words import RESULTS_MARK

NOTES = RESULTS_MARK
"""Below the folder of results: what a run keeps so that it can go on."""

GATHERED_FILES = {"coco": "coco.json", "kaggle": "submission.csv", "sheet": "sheet_001.png"}
"""Kinds that are one file, or a few, for all pictures, and what the first is called."""

FRAMES = "_frames"
"""What follows a video's name in that of the folder with a file for each frame."""

# Bytes of a file's name without its suffix: file systems take 255, of which `_polygons.geojson` needs 17.
_LONGEST_STEM = 238
_LINES = f"{NOTES}/results.jsonl"
_RESULT = re.compile(r"(.+)_([a-z]+)(?:_\d+)?")
_PAGE = re.compile(r"\d{3,}")


@dataclass(frozen=True)
class Claim:
    """Results that lie in a folder, or are about to.

    Attributes:
        place: Folder and stem of their names, below the folder of results, posix.
        name: What lists call the picture.
        source: The picture, by its path from the folder of results, so that both may be moved together.
        size: Its bytes.
        modified: When it was changed last, in nanoseconds.
        makers: What else made them, in short; see `digest_of`.
        kinds: Which results.
    """

    place: str
    name: str
    source: str
    size: int
    modified: int
    makers: str
    kinds: tuple[str, ...]

    def is_of(self, other: "Claim") -> bool:
        """Whether both are of one picture, which has not changed between them."""
        return (self.source, self.size, self.modified) == (other.source, other.size, other.modified)

    def covers(self, other: "Claim") -> bool:
        """Whether these results are what the other's would be, too."""
        return self.makers == other.makers and self.is_of(other)


Claims = Mapping[tuple[str, str], Claim]
"""The newest claim of each place and kind."""


def digest_of(makers: Mapping[str, object]) -> str:
    """What makes results what they are beside the pictures, in a few letters."""
    return hashlib.blake2b(json.dumps(makers, sort_keys=True).encode(), digest_size=8).hexdigest()


def by_kind(claims: Iterable[Claim]) -> dict[tuple[str, str], Claim]:
    """Claims in the order in which they were made, as `Claims`."""
    return {(claim.place, kind): claim for claim in claims for kind in claim.kinds}


def read_claims(out: Path) -> dict[tuple[str, str], Claim]:
    """The claims in a folder of results; none where there is none."""
    try:
        lines = (out / _LINES).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return by_kind(claim for line in lines if (claim := _read(line)))


def write_claims(out: Path, claims: Iterable[Claim]) -> None:
    """Add claims to those in a folder of results."""
    file = out / _LINES
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        # A line that a run was killed in the middle of is of nothing, and ends here.
        lines.write("\n" if lines.tell() else "")
        lines.writelines(f"{json.dumps(asdict(claim))}\n" for claim in claims)


def is_result(path: PurePath, claims: Claims) -> bool:
    """Whether a file, named by its path below the folder of results, is one of those claimed."""
    stem = path.with_suffix("")
    if (found := _RESULT.fullmatch(stem.name)) and (stem.with_name(found[1]).as_posix(), found[2]) in claims:
        return True
    first_page = _PAGE.sub("001", path.as_posix())
    gathered = {kind for kind, name in GATHERED_FILES.items() if name == first_page}
    videos = (folder for folder in path.parents if folder.name.endswith(FRAMES) and folder.name != FRAMES)
    places = {folder.with_name(folder.name.removesuffix(FRAMES)).as_posix() for folder in videos}
    # Of most files nothing is left to be looked for, and there may be a million claims.
    return bool(gathered or places) and any(place in places or kind in gathered for place, kind in claims)


def leaves_no_room(stem: str) -> bool:
    """Whether a name, without its suffix, is too long for what results add to it."""
    return len(stem.encode()) > _LONGEST_STEM


def _read(line: str) -> Claim | None:
    try:
        content = json.loads(line)
        return Claim(**{**content, "kinds": tuple(content["kinds"])})
    except (ValueError, TypeError, KeyError):  # an empty line, or half of one
        return None
