"""Train, val and test that never split a group.

Pictures of one car, patient or street resemble each other. With some of them in train, the others
are no test, so groups are found in the file names and stay together. Which part a group goes to
depends on its name and the seed alone: neither the order of the files nor pictures added to other
groups move it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from maskwright.data.pairs import Pair
from maskwright.errors import InputError

_LEAST_GROUPS = 5
_SEPARATORS = ("_", "-", ".", " ")
_LETTERS_THEN_DIGITS = re.compile(r"([^\W\d_]+)\d+")


@dataclass(frozen=True)
class Groups:
    """Which pictures belong together, and how that was found."""

    of: dict[str, str]
    """Group of each name."""

    rule: str
    """One phrase for the user."""


def find_groups(names: Sequence[str], *, pattern: str | None = None) -> Groups:
    """Finds pictures that belong together by their names.

    A prefix of the file names groups pictures when it yields at least 5 groups of 2 or more;
    otherwise each picture stands alone. Of several such prefixes the one with the fewest groups is
    taken: too coarse a split is still honest, too fine a one is not.

    Args:
        names: Relative posix paths without suffix, as in `Pair.name`; only the last part is looked
            at.
        pattern: A regular expression searched in the whole name instead; its first group, or the
            whole match without one, is the picture's group.

    Raises:
        InputError: The pattern is no regular expression or does not match a name.
    """
    if pattern is not None:
        of = _groups_by_pattern(names, pattern)
        return Groups(of, f"{len(set(of.values()))} groups by the pattern {pattern}")
    found = [groups for groups in _prefix_groups(names) if _is_grouping(groups.of)]
    if found:
        return min(found, key=lambda groups: len(set(groups.of.values())))
    alone = f"no prefix of the names makes at least {_LEAST_GROUPS} groups of 2 or more"
    return Groups({name: name for name in names}, f"each picture stands alone: {alone}")


def split_groups(
    groups: Mapping[str, str], *, val_share: float = 0.2, test_share: float = 0.0, seed: int = 0
) -> dict[str, str]:
    """Deals whole groups out to train, val and test.

    Shares count groups, not pictures: how far a score can be trusted depends on how many
    independent groups it was measured on. A group that holds more than half of all pictures stays
    in train, though.

    Args:
        groups: Group of each name.
        val_share: Share of the groups for val; at least one group unless it is 0.
        test_share: The same for test.
        seed: Another seed, another split.

    Returns:
        "train", "val" or "test" for each name; train keeps at least one group.

    Raises:
        InputError: There are too few groups, or the shares leave nothing to train on.
    """
    if val_share < 0 or test_share < 0 or val_share + test_share >= 1:
        raise InputError(
            f"Shares of {val_share:g} for val and {test_share:g} for test leave nothing for train; "
            "choose shares from 0 that add up to less than 1."
        )
    ordered = _shuffled(Counter(groups.values()), seed)
    parts = 1 + (val_share > 0) + (test_share > 0)
    if len(ordered) < parts:
        raise InputError(
            f"The pictures form {len(ordered)} group(s), and a split needs at least {parts}; add "
            "pictures or choose smaller groups with --group."
        )
    num_test = min(_count(test_share, len(ordered)), len(ordered) - (parts - 1))
    num_val = min(_count(val_share, len(ordered)), len(ordered) - 1 - num_test)
    part_of = dict.fromkeys(ordered, "train")
    part_of |= dict.fromkeys(ordered[:num_test], "test")
    part_of |= dict.fromkeys(ordered[num_test : num_test + num_val], "val")
    return {name: part_of[group] for name, group in groups.items()}


def make_split(
    pairs: Sequence[Pair], *, pattern: str | None, val_share: float, test_share: float, seed: int
) -> tuple[dict[str, str], Groups]:
    """Splits pairs by group, keeping the parts that folders give.

    Only a part that no folder gives is taken from train. A pair without a part belongs to train
    where others have one.

    Args:
        pairs: As found.
        pattern: See `find_groups`.
        val_share: See `split_groups`; without effect where folders give val.
        test_share: The same for test.
        seed: See `split_groups`.

    Returns:
        "train", "val" or "test" for each name, and the groups.

    Raises:
        InputError: As `find_groups` and `split_groups`.
    """
    groups = find_groups([pair.name for pair in pairs], pattern=pattern)
    split = {pair.name: pair.split or "train" for pair in pairs}
    given = {pair.split for pair in pairs}
    val_share = 0.0 if "val" in given else val_share
    test_share = 0.0 if "test" in given else test_share
    trained = {name: groups.of[name] for name, part in split.items() if part == "train"}
    return split | split_groups(trained, val_share=val_share, test_share=test_share, seed=seed), groups


def _prefix_groups(names: Sequence[str]) -> list[Groups]:
    """Every way to group by a prefix; names without the prefix stand for themselves."""
    stems = {name: PurePosixPath(name).name for name in names}
    ways = {
        f"the part of the name before the {end} '{separator}'": {
            name: _own_unless_cut(name, stem, cut(stem, separator)) for name, stem in stems.items()
        }
        for separator in _SEPARATORS
        for end, cut in (("first", _before_first), ("last", _before_last))
    }
    ways["the letters before the number"] = {
        name: _own_unless_cut(name, stem, _letters(stem)) for name, stem in stems.items()
    }
    return [Groups(of, f"{len(set(of.values()))} groups by {way}") for way, of in ways.items()]


def _own_unless_cut(name: str, stem: str, prefix: str) -> str:
    """The prefix; a name that has none is a group of its own, also where another folder has the same stem."""
    return name if prefix == stem else prefix


def _before_first(stem: str, separator: str) -> str:
    return stem.split(separator, 1)[0] or stem


def _before_last(stem: str, separator: str) -> str:
    return stem.rsplit(separator, 1)[0] or stem


def _letters(stem: str) -> str:
    match = _LETTERS_THEN_DIGITS.fullmatch(stem)
    return match[1] if match else stem


def _is_grouping(of: Mapping[str, str]) -> bool:
    return sum(size >= 2 for size in Counter(of.values()).values()) >= _LEAST_GROUPS


def _groups_by_pattern(names: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group {pattern!r} is no regular expression ({error}); correct it.") from error
    return {name: _match_group(compiled, name) for name in names}


def _match_group(compiled: re.Pattern[str], name: str) -> str:
    match = compiled.search(name)
    group: str | None = match[min(compiled.groups, 1)] if match else None
    if not group:
        raise InputError(
            f"--group {compiled.pattern!r} finds nothing in {name}; change it so that it matches every name."
        )
    return group


def _shuffled(sizes: Mapping[str, int], seed: int) -> list[str]:
    """Groups in an order of their names and the seed; one of more than half comes last."""
    half = sum(sizes.values()) / 2

    def key(group: str) -> tuple[bool, bytes]:
        return sizes[group] > half, hashlib.blake2b(f"{seed}:{group}".encode()).digest()

    return sorted(sizes, key=key)


def _count(share: float, num_groups: int) -> int:
    return max(1, round(share * num_groups)) if share > 0 else 0
