"""A picture that ends the process that works on it is found out, and given up.

A decoder that crashes, or memory that the system takes back by force, leaves nobody to say which picture it was; the
part is tried again elsewhere, and the same happens, without end. So whoever begins a part leaves a note, and takes it
away at the end. Who finds one knows that somebody ended without a word, and from then on notes each picture before it
is touched. One at which that happened twice is a problem of its own, and the others are done.

That may have been the machine's end, too, which is why once is not enough.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from maskwright.inference.claims import NOTES
from maskwright.scale.manifest import Part
from maskwright.scale.places import Place
from maskwright.scale.sources import Picture

TRIED = f"{NOTES}/tried"
"""Below the results: notes on parts that are being done."""

# How often a process may end at a picture.
_STRIKES = 2


@dataclass(frozen=True)
class Note:
    """What is known of earlier attempts at a part.

    Attributes:
        at: The place of the picture that the last one was at; None where it did not say.
        strikes: How often in a row attempts ended there.
        given_up: Places of pictures that are not tried any more.
    """

    at: int | None = None
    strikes: int = 0
    given_up: tuple[int, ...] = ()


def watched(out: Place, part: Part, pictures: Iterable[Picture], *, step: str = "") -> Iterator[Picture]:
    """The pictures of a part, while notes are kept: each is worked on before the next is asked for.

    Args:
        out: Where results go.
        part: Which.
        pictures: All of them, in an order that is the same each time.
        step: What is done with them, where steps of a part are taken apart: each has notes of its own.

    Yields:
        The same pictures; those that are given up have a problem and no content.
    """
    name = f"{TRIED}/{part.name}{step and f'-{step}'}"
    before = _read(out, name)
    note = before and _judge(before)
    _write(out, name, note or Note())
    try:
        for place, picture in enumerate(pictures):
            if note is not None and place in note.given_up:
                sentence = f"{picture.title} ended the process that worked on it, each time; save it anew or remove it."
                yield replace(picture, content=None, problem=sentence)
                continue
            if note is not None:
                strikes = note.strikes if place == note.at else 0
                _write(out, name, Note(place, strikes, note.given_up))
            yield picture
    finally:  # all are done, or an error is on its way to somebody: the process lives
        out.remove_file(name)


def _judge(note: Note) -> Note:
    """The note of an attempt that ended without a word, as the next one sees it."""
    if note.at is None:
        return note
    strikes = note.strikes + 1
    return Note(None, 0, (*note.given_up, note.at)) if strikes == _STRIKES else replace(note, strikes=strikes)


def _read(out: Place, name: str) -> Note | None:
    try:
        content: dict[str, Any] = json.loads(out.read(name))
    except FileNotFoundError:
        return None
    return Note(content["at"], content["strikes"], tuple(content["given_up"]))


def _write(out: Place, name: str, note: Note) -> None:
    content = {"at": note.at, "strikes": note.strikes, "given_up": note.given_up}
    out.write(name, json.dumps(content).encode())
