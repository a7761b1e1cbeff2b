"""Train, val and test that never split a group.

With some pictures of a group in train, the others are no test. Which part a group goes to depends on
its name, the seed and how much foreground its pictures show, never on the order of the files.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from maskwright.data.groups import Groups, find_groups, merge_groups
from maskwright.data.pairs import Pair
from maskwright.errors import InputError

PARTS = ("train", "val", "test")


def split_groups(
    groups: Mapping[str, str],
    *,
    val_share: float = 0.2,
    test_share: float = 0.0,
    seed: int = 0,
    shares: Mapping[str, float] | None = None,
    rule: str = "",
) -> dict[str, str]:
    """Deal whole groups out to train, val and test.

    Shares of val and test count groups, not pictures: how far a score can be trusted depends on how
    many independent groups it was measured on. A group that holds more than half of all pictures
    stays in train, though.

    With foreground shares, groups are lined up by them and cut into as many strata as val needs
    groups, and each stratum gives one. Without, or where all are equal, the part of a group depends
    on its name and the seed alone, and pictures added to other groups do not move it as long as val
    needs as many groups. With strata they may: a stratum is made of its neighbours.

    Args:
        groups: Group of each name.
        val_share: Share of the groups for val; at least one group unless it is 0.
        test_share: The same for test.
        seed: Another seed, another split.
        shares: Foreground share of each name; a group has the mean of its pictures.
        rule: How the groups were found, for whoever has too few of them.

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
    ordered = _shuffled(groups, seed)
    parts = 1 + (val_share > 0) + (test_share > 0)
    _require_groups(len(ordered), parts, "a split", rule=rule, otherwise="give the parts as folders train/ and val/")
    num_test = min(_count(test_share, len(ordered)), len(ordered) - (parts - 1))
    num_val = min(_count(val_share, len(ordered)), len(ordered) - 1 - num_test)
    share_of = _mean_shares(groups, shares)
    eligible = [group for group in ordered if group != _giant(groups)]
    test = _pick(eligible, num_test, share_of)
    val = _pick([group for group in eligible if group not in test], num_val, share_of)
    part_of = dict.fromkeys(ordered, "train") | dict.fromkeys(test, "test") | dict.fromkeys(val, "val")
    return {name: part_of[group] for name, group in groups.items()}


def fold_groups(
    groups: Mapping[str, str],
    *,
    folds: int,
    fold: int,
    seed: int = 0,
    shares: Mapping[str, float] | None = None,
    rule: str = "",
) -> dict[str, str]:
    """Deal whole groups out to folds, and hold one fold out.

    Over all folds each group is in val once, and folds differ by one group at most. With foreground
    shares, neighbours in the line of groups go to different folds.

    Args:
        groups: Group of each name.
        folds: How many, 2 or more.
        fold: The one that is val, from 0.
        seed: Another seed, other folds.
        shares: See `split_groups`.
        rule: The same.

    Returns:
        "train" or "val" for each name.

    Raises:
        InputError: There is no such fold, or there are fewer groups than folds.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise InputError(
            f"There is no --fold {fold} of --folds {folds}; choose 2 folds or more, and count them from 0."
        )
    ordered = _shuffled(groups, seed)
    fewer = f"take --folds {len(ordered)}" if len(ordered) > 1 else "leave --folds out"
    _require_groups(len(ordered), folds, f"--folds {folds}", rule=rule, otherwise=fewer)
    share_of = _mean_shares(groups, shares)
    place = {group: number for number, group in enumerate(ordered)}
    line = sorted(ordered, key=lambda group: share_of[group])
    rounds = [sorted(line[start : start + folds], key=place.__getitem__) for start in range(0, len(line), folds)]
    held_out = {dealt[fold] for dealt in rounds if len(dealt) > fold}
    return {name: "val" if group in held_out else "train" for name, group in groups.items()}


def make_split(
    pairs: Sequence[Pair],
    *,
    pattern: str | None,
    val_share: float,
    test_share: float,
    seed: int,
    folds: int | None = None,
    fold: int = 0,
    shares: Mapping[str, float] | None = None,
    near: Iterable[tuple[str, str]] = (),
) -> tuple[dict[str, str], Groups]:
    """Split pairs by group, keeping the parts that folders or a manifest give.

    Only a part that nothing gives is taken from train. Where some pairs have a part, one without
    goes where its group is, or else to train. Groups that lie in several given parts stay there; the
    groups and the parts that are returned show them.

    Args:
        pairs: As found.
        pattern: See `find_groups`.
        val_share: See `split_groups`; without effect where val is given or there are folds.
        test_share: The same for test, which is taken before folds are made.
        seed: See `split_groups`.
        folds: See `fold_groups`; None for a single split.
        fold: The same.
        shares: Foreground share of each name.
        near: Names of pictures that are copies of each other.

    Returns:
        "train", "val" or "test" for each name, and the groups.

    Raises:
        InputError: As `find_groups`, `split_groups` and `fold_groups`; or folds are asked for where
            val is given.
    """
    names = [pair.name for pair in pairs]
    groups = find_groups(names, pattern=pattern, given={pair.name: pair.group for pair in pairs})
    groups = merge_groups(groups, near)
    split = _given_parts(pairs, groups)
    given = {pair.split for pair in pairs}
    if folds is not None and "val" in given:
        raise InputError("The folders or the manifest give val already; leave --folds out, or remove what gives it.")
    val_share = 0.0 if "val" in given or folds is not None else val_share
    test_share = 0.0 if "test" in given else test_share
    split |= split_groups(
        _groups_in_train(split, groups),
        val_share=val_share,
        test_share=test_share,
        seed=seed,
        shares=shares,
        rule=groups.rule,
    )
    if folds is not None:
        split |= fold_groups(
            _groups_in_train(split, groups), folds=folds, fold=fold, seed=seed, shares=shares, rule=groups.rule
        )
    return split, groups


def read_split(path: Path) -> dict[str, str]:
    """Read which picture a run put into which part.

    Args:
        path: The split.json of a run.

    Returns:
        "train", "val" or "test" for each name.

    Raises:
        InputError: The file cannot be read or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pictures = [(name, part) for part in PARTS for name in content["pictures"].get(part, [])]
        split = dict(pictures)
    except OSError as error:
        raise InputError(f"--split {path} cannot be read ({error.strerror}); name the split.json of a run.") from error
    # Other JSON fails wherever it differs, and deeply nested JSON where it is parsed.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"--split {path} is no split.json of a run; name another file.") from error
    if not split or len(split) < len(pictures) or not all(isinstance(name, str) for name in split):
        raise InputError(f"--split {path} does not put each picture into one part; name the split.json of a run.")
    return split


def apply_split(pairs: Sequence[Pair], saved: Mapping[str, str]) -> dict[str, str]:
    """Split pairs as they were split before.

    Args:
        pairs: As found; fewer than were split is no harm.
        saved: From `read_split`.

    Returns:
        "train", "val" or "test" for each name.

    Raises:
        InputError: The split does not know all pictures, or leaves nothing to train on or to hold out.
    """
    unknown = [pair.name for pair in pairs if pair.name not in saved]
    if unknown:
        raise InputError(
            f"The split of --split does not know {len(unknown)} of {len(pairs)} pictures, such as {min(unknown)}; "
            "remove them, or leave --split out for a new one."
        )
    split = {pair.name: saved[pair.name] for pair in pairs}
    missing = [part for part in ("train", "val") if part not in split.values()]
    if missing:
        raise InputError(f"No picture of the {missing[0]} part of --split is here; leave --split out for a new one.")
    return split


def _given_parts(pairs: Sequence[Pair], groups: Groups) -> dict[str, str]:
    """The parts as given; a pair without one goes where its group is, or else to train."""
    parts_of: dict[str, set[str]] = {}
    for pair in pairs:
        if pair.split is not None:
            parts_of.setdefault(groups.of[pair.name], set()).add(pair.split)
    split = {}
    for pair in pairs:
        known = parts_of.get(groups.of[pair.name], set())
        # Of a group in test and val, to test: from val, it would choose the weights that test is to judge.
        split[pair.name] = pair.split or next((part for part in ("train", "test", "val") if part in known), "train")
    return split


def _groups_in_train(split: Mapping[str, str], groups: Groups) -> dict[str, str]:
    return {name: groups.of[name] for name, part in split.items() if part == "train"}


def _require_groups(found: int, needed: int, what: str, *, rule: str, otherwise: str) -> None:
    if found < needed:
        raise InputError(
            f"The pictures form {found} group(s){rule and f' ({rule})'}, and {what} needs at least {needed}; add "
            f"pictures, choose smaller groups with --group, or {otherwise}."
        )


def _shuffled(groups: Mapping[str, str], seed: int) -> list[str]:
    """Groups in an order of their names and the seed."""
    return sorted(set(groups.values()), key=lambda group: hashlib.blake2b(f"{seed}:{group}".encode()).digest())


def _giant(groups: Mapping[str, str]) -> str | None:
    """The group that holds more than half of all pictures."""
    largest = Counter(groups.values()).most_common(1)
    return largest[0][0] if largest and largest[0][1] > len(groups) / 2 else None


def _mean_shares(groups: Mapping[str, str], shares: Mapping[str, float] | None) -> dict[str, float]:
    """Foreground share of each group; 0 for all where nothing is known."""
    found: dict[str, list[float]] = {group: [] for group in groups.values()}
    for name, group in groups.items():
        share = 0.0 if shares is None else shares[name]
        found[group].append(0.0 if math.isnan(share) else share)  # a mask may be ignored everywhere
    # Exact, because another order of the files must not break a tie by the last bit of a sum.
    return {group: math.fsum(own) / len(own) for group, own in found.items()}


def _pick(ordered: Sequence[str], count: int, share_of: Mapping[str, float]) -> set[str]:
    """One group of each stratum, the first in order that lies within its range.

    A group on the border of two strata lies in both, so that among equal shares order alone decides.
    """
    line = sorted(share_of[group] for group in ordered)
    picked: list[str] = []
    for number in range(count):
        low = line[number * len(line) // count]
        high = line[(number + 1) * len(line) // count - 1]
        picked.append(next(group for group in ordered if group not in picked and low <= share_of[group] <= high))
    return set(picked)


def _count(share: float, num_groups: int) -> int:
    return max(1, round(share * num_groups)) if share > 0 else 0
