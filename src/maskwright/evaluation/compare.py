"""Two models on the same pictures: what one gains on the other, picture by picture.

Pictures differ much more than models do, so that two intervals may overlap although one model is better on nearly every
picture. The interval of the differences tells.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from maskwright.data.groups import join_groups
from maskwright.evaluation.evaluate import DEFINITIONS, TITLES, Measures, PictureScore, without_nan
from maskwright.evaluation.metrics import Interval, bootstrap_interval

LOWER_IS_BETTER = frozenset({"hausdorff_95", "edge_error", "inner_error"})
# The interval of two groups reaches from the gain of one to that of the other: where both have one sign, and luck alone
# sees to that half of the time, it leaves out 0. Of three groups this is a quarter of the time, of four an eighth or
# more, of five a sixteenth or more.
LEAST_GROUPS = 5
TOO_FEW_GROUPS = (
    f"From fewer than {LEAST_GROUPS} groups, luck cannot be told from a better model: neither is called better where "
    "an interval rests on so few."
)
DEFINITIONS_OF_TWO = f"""\
{DEFINITIONS}
Beside a model that found what is not there, one that rightly found nothing has a Dice and an IoU of 1."""


@dataclass(frozen=True)
class Difference:
    """A picture's Dice in both evaluations."""

    name: str
    first: float
    second: float

    @property
    def gain(self) -> float:
        """What the second has more."""
        return self.second - self.first


@dataclass(frozen=True, kw_only=True)
class Comparison(Measures[Interval]):
    """What the second of two evaluations has more than the first: means over pictures, intervals over groups.

    Attributes:
        pictures: Those that both scored, and that have a Dice in both; where they differ most comes first.
        common: How many both scored.
        groups: How many groups these come from: pictures that either evaluation puts together are together.
        groups_of: How many groups have a gain in each measure.
        only_first: How many only the first scored.
        only_second: How many only the second scored.
        namesakes: How many of these have the name of a picture that the other scored, and are another file.
    """

    pictures: tuple[Difference, ...]
    common: int
    groups: int
    groups_of: dict[str, int]
    only_first: int
    only_second: int
    namesakes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values; a difference that does not exist is null."""
        content: dict[str, Any] = without_nan(asdict(self))
        return content


def compare_scores(first: Sequence[PictureScore], second: Sequence[PictureScore]) -> Comparison:
    """Compare the pictures of two evaluations that have the same name, and the same file as far as both noted it.

    The groups are those of both, joined, and no order of pictures decides: which of the two is better does not depend
    on which of them comes first.
    """
    theirs = {row.name: row for row in second}
    named_alike = [(row, theirs[row.name]) for row in sorted(first, key=lambda row: row.name) if row.name in theirs]
    pairs = [side_by_side(row, other) for row, other in named_alike if _may_be_one(row, other)]
    ways = [{row.name: row.group for row in rows} for rows in zip(*pairs, strict=True)]
    groups = list(join_groups(*ways).values()) if ways else []
    gains = {of: [getattr(other, of) - getattr(row, of) for row, other in pairs] for of in TITLES}
    differences = [Difference(row.name, row.dice, other.dice) for row, other in pairs]
    return Comparison(
        **{of: bootstrap_interval(values, groups) for of, values in gains.items()},
        pictures=tuple(
            sorted(
                (difference for difference in differences if not np.isnan(difference.gain)),
                key=lambda difference: abs(difference.gain),
                reverse=True,
            )
        ),
        common=len(pairs),
        groups=len(set(groups)),
        groups_of={of: _count_groups(values, groups) for of, values in gains.items()},
        only_first=len(first) - len(pairs),
        only_second=len(second) - len(pairs),
        namesakes=len(named_alike) - len(pairs),
    )


def _may_be_one(row: PictureScore, other: PictureScore) -> bool:
    """Whether two scores of one name are of one file, as far as both noted it."""
    return row.fingerprint == other.fingerprint or not (row.fingerprint and other.fingerprint)


def side_by_side(row: PictureScore, other: PictureScore) -> tuple[PictureScore, PictureScore]:
    """Two scores of one picture, in which a Dice or an IoU that only one of them has is 1 for the other.

    It has none since it found nothing where nothing is. Left out, the picture would not count against the one that did.
    """
    return _beside(row, other), _beside(other, row)


def _beside(row: PictureScore, other: PictureScore) -> PictureScore:
    found: dict[str, Any] = {
        of: 1.0 for of in ("dice", "iou") if np.isnan(getattr(row, of)) and not np.isnan(getattr(other, of))
    }
    return replace(row, **found)


def _count_groups(gains: Sequence[float], groups: Sequence[str]) -> int:
    return len({group for gain, group in zip(gains, groups, strict=True) if not np.isnan(gain)})


def verdict(measure: str, gain: Interval, groups: int) -> str:
    """Which of the two is better, where the interval of the difference says so and enough groups have one."""
    if groups < LEAST_GROUPS or not _leaves_out_zero(gain):
        return "not told apart"
    return "B is better" if (gain.mean > 0) != (measure in LOWER_IS_BETTER) else "A is better"


def lacks_groups(comparison: Comparison) -> bool:
    """Whether more groups might have told the two apart: an interval leaves out 0 and rests on too few."""
    return any(
        groups < LEAST_GROUPS and _leaves_out_zero(getattr(comparison, of))
        for of, groups in comparison.groups_of.items()
    )


def _leaves_out_zero(gain: Interval) -> bool:
    return gain.low > 0 or gain.high < 0
