"""Which pictures a model has not learnt from, recognised by their content: a renamed or copied file is found too."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Literal

import numpy as np

from maskwright.data.duplicates import look_alike, looks_of, read_looks, thumbnail
from maskwright.data.groups import folders_of, matching, print_of_group
from maskwright.data.input_format import read_image
from maskwright.data.pairs import Pair
from maskwright.data.reading import fingerprint_of
from maskwright.errors import InputError, naming_what_is_too_large
from maskwright.inference.model_file import ModelCard

# `learnt` from this very file; `alike`: from a picture that this one looks like a copy of; `chosen`: the best weights
# were chosen on it, and nothing else was learnt from it.
Kind = Literal["learnt", "alike", "chosen", "unseen"]
# Those whose scores would be of what was learnt by heart.
SEEN: tuple[Kind, ...] = ("learnt", "alike")


class Known:
    """What a model file knows of pictures that training may have seen.

    Args:
        card: What the file says of itself.
        groups: The group of each picture's name.
    """

    def __init__(self, card: ModelCard, groups: Mapping[str, str]) -> None:
        self._trained_on, self._chosen_on = set(card.trained_on), set(card.chosen_on)
        self._looks, self._prints = read_looks(card.looks), set(card.groups)
        self._groups = groups
        self._by_pattern = matching(groups, re.compile(card.group)) if card.group else {}

    def kind(self, fingerprint: str, looks: Iterable[str]) -> Kind:
        """What training did with a picture.

        Args:
            fingerprint: Of its file.
            looks: What it looks like, asked for only where the file does not tell; nothing where that cannot be said.
        """
        if fingerprint in self._trained_on:
            return "learnt"
        if fingerprint in self._chosen_on:  # training looked for copies of it, more closely than can be done here
            return "chosen"
        is_copy = len(self._looks) and any(look_alike(look, self._looks).any() for look in read_looks(looks))
        return "alike" if is_copy else "unseen"

    def is_related(self, name: str) -> bool:
        """Whether training learnt from others of its group.

        It may be grouped as it is here, by the model's own pattern, or by a folder: few folders make no groups here.
        """
        groups = {self._groups[name], self._by_pattern.get(name, name), *folders_of(name)}
        groups.discard(name)  # what a picture that stands alone is called; of those there are no prints
        return not self._prints.isdisjoint(map(print_of_group, groups))


class Sieve:
    """Lets those pairs pass that a model has not learnt from, and remembers the others.

    Pictures whose files are equal to those of training, or that look like copies of them, do not pass. Others of a
    group that training saw do: names are less certain than pictures, and the user may have split a group on purpose.

    Args:
        card: What the model file says of itself.
        groups: The group of each pair's name.
        everything: All pass.

    Attributes:
        passed: Those that did so far.
    """

    def __init__(self, card: ModelCard, groups: Mapping[str, str], *, everything: bool = False) -> None:
        self.passed: list[Pair] = []
        self._card, self._everything = card, everything
        self._known = Known(card, groups)
        self._seen = 0
        # Names of pictures, by what is known of them.
        self._names: dict[Kind, list[str]] = {"learnt": [], "alike": [], "chosen": [], "unseen": []}
        self._related: list[str] = []

    def passing(self, pairs: Iterable[Pair], advance: Callable[[], None]) -> Iterator[Pair]:
        """The pairs that pass, each looked at when it is asked for: whoever reads it then finds its file in memory.

        Args:
            pairs: Pictures and masks.
            advance: Called for each that does not pass.

        Raises:
            InputError: A picture's file cannot be read.
        """
        for pair in pairs:
            self._seen += 1
            if self._is_learnt(pair) and not self._everything:
                advance()
            else:
                self.passed.append(pair)
                yield pair

    def is_validation(self, name: str) -> bool:
        """Whether the best weights were chosen on a picture that passed, and nothing else was learnt from it."""
        return name in self._names["chosen"]

    def leaks(self) -> list[str]:
        """What training saw of these pictures."""
        sentences = []
        for names, reason in (
            (self._names["learnt"], "training learnt from them"),
            (self._names["alike"], "they look like copies of pictures that training learnt from"),
        ):
            if names and self._everything:
                sentences.append(f"LEAK: {len(names)} of these {self._seen} pictures: {reason}, such as {names[0]}.")
            elif names:
                some = f"{len(names)} of {self._seen} pictures"
                sentences.append(f"Left out: {some}, because {reason}, such as {names[0]}.")
        if self._related:
            sentences.append(
                f"LEAK: {len(self._related)} of these {len(self.passed)} pictures belong to groups that training "
                f"learnt from, such as {self._related[0]}; on new groups, scores will be lower."
            )
        return sentences

    def remarks(self) -> list[str]:
        """What else a reader of scores of those that passed must know."""
        if self._card.is_imported:
            return ["Nothing is known of the pictures that this model has learnt from: these may be among them."]
        remarks = []
        if not self._card.looks:
            remarks.append(
                "This model file knows exact copies of what training learnt from, but not what resembles it."
            )
        if (chosen := self._names["chosen"]) and not self._everything:
            remarks.append(f"The best weights were chosen on {len(chosen)} of these {len(self.passed)} pictures.")
        return remarks

    def _is_learnt(self, pair: Pair) -> bool:
        """Whether training learnt from a picture; what is known of it is remembered."""
        kind = self._known.kind(fingerprint_of(pair.image), self._looks(pair))
        self._names[kind].append(pair.name)
        if kind in SEEN:
            return True
        if self._known.is_related(pair.name):
            self._related.append(pair.name)
        return False

    def _looks(self, pair: Pair) -> Iterator[str]:
        with suppress(InputError), naming_what_is_too_large(pair.image):  # said when it is scored
            yield from looks_of(thumbnail(read_image(pair.image, self._card.input))[np.newaxis])
