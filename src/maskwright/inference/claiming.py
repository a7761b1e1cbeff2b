"""Before results are written: whose they will be is noted, and what lies under their names must not be another's."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from maskwright.data.folder_words import natural
from maskwright.data.labels import LabelMap
from maskwright.errors import InputError
from maskwright.files import write_json
from maskwright.inference.bulk import results_there
from maskwright.inference.claims import (
    GATHERED_FILES,
    NOTES,
    Claim,
    Claims,
    by_kind,
    digest_of,
    read_claims,
    write_claims,
)
from maskwright.inference.gathering import Part
from maskwright.inference.jobs import Job
from maskwright.inference.results import Wish, paths_of

# What made the results of a folder beside the pictures, by the names of options.
MAKERS = f"{NOTES}/makers.json"

_ADVICE = "choose another --out, or replace them with --overwrite"


@dataclass(frozen=True)
class Claimed:
    """The results of a folder.

    Attributes:
        claims: Whose they are.
        makers: What makes those of this run; see `digest_of`.
        changed: How many of the pictures have changed since their results were made.
    """

    claims: Claims
    makers: str
    changed: int


def claim_results(
    out: Path, jobs: Sequence[Job], wish: Wish, labels: LabelMap, makers: Mapping[str, object]
) -> Claimed:
    """Note whose results there will be, and take away what was made of a picture as it was, or by something else.

    Raises:
        InputError: Something else made what is there, or it is nobody's or another picture's, and it is not to be
            replaced. Nothing was changed.
    """
    if not wish.renew:
        _refuse_other_makers(out, makers)
    held, digest = read_claims(out), digest_of(makers)
    for kind in GATHERED_FILES.keys() & {*wish.kinds} - {claimed for _, claimed in held}:
        if not wish.renew and (stranger := out / GATHERED_FILES[kind]).exists():
            raise _is_nobodys(stranger)
    claims: list[Claim] = []
    outdated: list[Path] = []
    changed = 0
    for job in jobs:
        wished = job.claim(digest, wish.kinds)
        earlier = {kind: held.get((wished.place, kind)) for kind in wish.kinds}
        fresh = [kind for kind, claim in earlier.items() if not claim or not claim.covers(wished)]
        for kind in fresh:
            there = results_there(kind, job, labels)
            if there and not wish.renew:
                _refuse_others(there[0], earlier[kind], wished, out)
            outdated += there
        if fresh:
            claims.append(replace(wished, kinds=tuple(fresh)))
        changed += any(
            claim and claim.source == wished.source and not claim.is_of(wished) for claim in earlier.values()
        )
    write_json(out / MAKERS, makers)
    for path in outdated:
        path.unlink()
    write_claims(out, claims)
    return Claimed(held | by_kind(claims), digest, changed)


def claimed_parts(out: Path, kind: str, claimed: Claimed, labels: LabelMap) -> list[Part]:
    """What the pictures of this run and of earlier ones have left for a gathered file, in the order of their names."""
    theirs = [claim for (_, some), claim in claimed.claims.items() if some == kind and claim.makers == claimed.makers]
    parts = [
        Part(claim.name, path)
        for claim in sorted(theirs, key=lambda claim: natural(PurePosixPath(claim.name)))
        for path in paths_of(kind, Job(Path(claim.source), claim.name, out, Path(claim.place)), labels)
    ]
    return [part for part in parts if part.path.exists()]


def _refuse_other_makers(out: Path, makers: Mapping[str, object]) -> None:
    note = out / MAKERS
    noted = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else makers
    other = next((name for name, value in makers.items() if noted.get(name) != value), None)
    if other:
        raise InputError(f"{out} holds results made with another {other.replace('_', '-')}; {_ADVICE}.")


def _refuse_others(there: Path, earlier: Claim | None, wished: Claim, out: Path) -> None:
    """Raise an InputError unless a file is of the picture that is to be predicted."""
    if earlier is None:
        raise _is_nobodys(there)
    if earlier.source != wished.source:
        one, other = (os.path.normpath(out / claim.source) for claim in (earlier, wished))
        raise InputError(f"{there} was made of {one}, and that of {other} would take its place; {_ADVICE}.")


def _is_nobodys(there: Path) -> InputError:
    return InputError(f"{there} is there and was not made here; choose another --out, or use --overwrite.")
