"""Which pictures a model has not learnt from, recognised by their content: a renamed or copied file is found too."""

from collections.abc import Callable, Iterable, Iterator

from maskwright.data.pairs import Pair
from maskwright.data.reading import fingerprint_of
from maskwright.inference.model_file import ModelCard


class Sieve:
    """Lets those pairs pass that a model has not learnt from, and counts them.

    Args:
        card: What the model file says of itself.
        everything: All pass.

    Attributes:
        passed: Those that did so far.
    """

    def __init__(self, card: ModelCard, *, everything: bool = False) -> None:
        self.passed: list[Pair] = []
        self._is_imported, self._everything = card.is_imported, everything
        self._trained_on = set(card.trained_on)
        self._chosen_on = set(card.chosen_on) - self._trained_on
        self._seen = self._learnt = self._chosen = 0

    def passing(self, pairs: Iterable[Pair], advance: Callable[[], None]) -> Iterator[Pair]:
        """The pairs that pass, each looked at when it is asked for: whoever reads it then finds its file in memory.

        Args:
            pairs: Pictures and masks.
            advance: Called for each that does not pass.

        Raises:
            InputError: A picture cannot be read.
        """
        for pair in pairs:
            fingerprint = fingerprint_of(pair.image)
            self._seen += 1
            self._learnt += fingerprint in self._trained_on
            self._chosen += fingerprint in self._chosen_on
            if self._everything or fingerprint not in self._trained_on:
                self.passed.append(pair)
                yield pair
            else:
                advance()

    def remarks(self) -> list[str]:
        """What a reader of scores of those that passed must know."""
        if self._is_imported:
            return ["Nothing is known of the pictures that this model has learnt from: these may be among them."]
        if self._everything:
            leak = f"LEAK: training learnt from {self._learnt} of these {self._seen} pictures."
            return [leak] if self._learnt else []
        remarks = []
        if self._learnt:
            remarks.append(f"Left out: {self._learnt} of {self._seen} pictures, because training learnt from them.")
        if self._chosen:
            remarks.append(f"The best weights were chosen on {self._chosen} of these {len(self.passed)} pictures.")
        return remarks
