"""Train, val and test that never split a group.

Pictures of one car, patient or street resemble each other. With some of them in train, the others
are no test, so groups are found in the names of files and folders, or given, and stay together. Which
part a group goes to depends on its name, the seed and how much foreground its pictures show, never
on the order of the files.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskwright.data.folder_words import read_place
from maskwright.data.pairs import Pair
from maskwright.errors import InputError

PARTS = ("train", "val", "test")

_LEAST_GROUPS = 5
_SEPARATORS = ("_", "-", ".", " ")
_LETTERS_THEN_DIGITS = r"(?:^|/)([^\W\d_]+)\d+$"


@dataclass(frozen=True)
class Groups:
    """Which pictures belong together, and how that was found."""

    of: dict[str, str]
    """Group of each name."""

    rule: str
    """One phrase for the user."""

    pattern: str | None = None
    """The regular expression that found them in the names, where one did; see `find_groups`."""


def find_groups(
    names: Sequence[str],
    *,
    pattern: str | None = None,
    given: Mapping[str, str | None] | None = None,
    known: str | None = None,
) -> Groups:
    """Finds pictures that belong together, by what is said of them or else by their names.

    A prefix of the file names, or the folder, groups pictures when it yields at least 5 groups of 2
    or more; otherwise each picture stands alone. Of several prefixes the one with the fewest groups
    is taken, and where folders group pictures too, what either of them puts together: too coarse a
    split is still honest, too fine a one is not. Where that leaves too few groups, the prefixes run
    across the folders, as numbers that start anew in each do, and the folders decide alone.

    Args:
        names: Relative posix paths without suffix, as in `Pair.name`. Of the folders those count
            that are no part of a split and do not tell images from masks.
        pattern: A regular expression searched in the whole name instead; its first group, or the
            whole match without one, is the picture's group.
        given: Group of each name, as a manifest gives it; without a group a picture stands alone. A
            pattern is asked for later than a manifest is written, and goes before it.
        known: A pattern that found the groups of other pictures of the kind. It counts where these are too few to find
            one in them, if it is in every name and puts some of them together, but not all.

    Raises:
        InputError: The pattern is no regular expression or does not match a name.
    """
    if pattern is not None:
        of = _groups_by_pattern(names, pattern)
        return Groups(of, f"{_count_groups(of)} groups by the pattern {pattern}", pattern)
    if given is not None and any(given.get(name) for name in names):
        of = {name: given.get(name) or name for name in names}
        return Groups(of, f"{_count_groups(of)} groups as the manifest gives them")
    by_prefix, by_folder = _coarsest(_prefix_groups(names)), _coarsest(_folder_groups(names))
    if by_prefix and by_folder:
        return _coarser(by_prefix, by_folder)
    if not by_prefix and not by_folder and known is not None:
        of = _matching(names, re.compile(known))
        if 1 < _count_groups(of) < len(names) == len(of):
            return Groups(of, f"{_count_groups(of)} groups by the pattern {known}, as the model's pictures", known)
    alone = f"no prefix of the names and no folder makes at least {_LEAST_GROUPS} groups of 2 or more"
    return by_prefix or by_folder or Groups({name: name for name in names}, f"each picture stands alone: {alone}")


def merge_groups(groups: Groups, near: Iterable[tuple[str, str]]) -> Groups:
    """Joins the groups of pictures that are copies of each other.

    Args:
        groups: As found.
        near: Pairs of names, in any order.

    Returns:
        Groups that keep the first of the names that were joined; the same ones where nothing was.
    """
    of = _joined(groups.of, near)
    before, after = _count_groups(groups.of), _count_groups(of)
    if before == after:
        return groups
    return Groups(of, f"{groups.rule}; near-duplicates joined {before} groups to {after}", groups.pattern)


def split_groups(
    groups: Mapping[str, str],
    *,
    val_share: float = 0.2,
    test_share: float = 0.0,
    seed: int = 0,
    shares: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Deals whole groups out to train, val and test.

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
    _require_groups(len(ordered), parts, "a split")
    num_test = min(_count(test_share, len(ordered)), len(ordered) - (parts - 1))
    num_val = min(_count(val_share, len(ordered)), len(ordered) - 1 - num_test)
    share_of = _mean_shares(groups, shares)
    eligible = [group for group in ordered if group != _giant(groups)]
    test = _pick(eligible, num_test, share_of)
    val = _pick([group for group in eligible if group not in test], num_val, share_of)
    part_of = dict.fromkeys(ordered, "train") | dict.fromkeys(test, "test") | dict.fromkeys(val, "val")
    return {name: part_of[group] for name, group in groups.items()}


def fold_groups(
    groups: Mapping[str, str], *, folds: int, fold: int, seed: int = 0, shares: Mapping[str, float] | None = None
) -> dict[str, str]:
    """Deals whole groups out to folds, and holds one fold out.

    Over all folds each group is in val once, and folds differ by one group at most. With foreground
    shares, neighbours in the line of groups go to different folds.

    Args:
        groups: Group of each name.
        folds: How many, 2 or more.
        fold: The one that is val, from 0.
        seed: Another seed, other folds.
        shares: See `split_groups`.

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
    _require_groups(len(ordered), folds, f"--folds {folds}")
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
    """Splits pairs by group, keeping the parts that folders or a manifest give.

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
        _groups_in_train(split, groups), val_share=val_share, test_share=test_share, seed=seed, shares=shares
    )
    if folds is not None:
        split |= fold_groups(_groups_in_train(split, groups), folds=folds, fold=fold, seed=seed, shares=shares)
    return split, groups


def read_split(path: Path) -> dict[str, str]:
    """Reads which picture a run put into which part.

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
    """Splits pairs as they were split before.

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


def _coarsest(ways: Sequence[Groups]) -> Groups | None:
    """The way with the fewest groups, of those that do group the pictures."""
    found = [groups for groups in ways if _is_grouping(groups.of)]
    return min(found, key=lambda groups: _count_groups(groups.of), default=None)


def _coarser(by_prefix: Groups, by_folder: Groups) -> Groups:
    """What prefixes and folders put together, or the folders alone where that is too much."""
    first_of: dict[str, str] = {}
    links = [(name, first_of.setdefault(group, name)) for name, group in by_folder.of.items()]
    of = _joined(by_prefix.of, links)
    if not _is_grouping(of):
        return by_folder
    for single in (by_prefix, by_folder):
        if _count_groups(single.of) == _count_groups(of):
            return single
    return Groups(of, f"{_count_groups(of)} groups by the names and the folders together")


def _joined(of: Mapping[str, str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Groups after those of linked names are made one, which keeps the first of their names."""
    leader: dict[str, str] = {group: group for group in of.values()}

    def find(group: str) -> str:
        while leader[group] != group:
            leader[group] = group = leader[leader[group]]
        return group

    for one, other in links:
        first, second = sorted((find(of[one]), find(of[other])))
        leader[second] = first
    return {name: find(group) for name, group in of.items()}


def _folder_groups(names: Sequence[str]) -> list[Groups]:
    """Every way to group by the outermost folders; names with fewer folders stand for themselves.

    The same folder in two parts of a split, `train/patient_1` and `val/patient_1`, is one group.
    """
    folders = {name: read_place(PurePosixPath(name).parts[:-1]).plain_folders for name in names}
    ways = []
    for depth in range(1, max(map(len, folders.values()), default=0) + 1):
        of = {name: "/".join(path[:depth]) if len(path) >= depth else name for name, path in folders.items()}
        ways.append(Groups(of, f"{_count_groups(of)} groups by folder"))
    return ways


def _given_parts(pairs: Sequence[Pair], groups: Groups) -> dict[str, str]:
    """The parts as given; a pair without one goes with its group, where that lies in one part."""
    parts_of: dict[str, set[str]] = {}
    for pair in pairs:
        if pair.split is not None:
            parts_of.setdefault(groups.of[pair.name], set()).add(pair.split)
    split = {}
    for pair in pairs:
        known = parts_of.get(groups.of[pair.name], set())
        split[pair.name] = pair.split or (next(iter(known)) if len(known) == 1 else "train")
    return split


def _groups_in_train(split: Mapping[str, str], groups: Groups) -> dict[str, str]:
    return {name: groups.of[name] for name, part in split.items() if part == "train"}


def _prefix_groups(names: Sequence[str]) -> list[Groups]:
    """Every way to group by a prefix of the file's name.

    A name that has none is a group of its own, also where another folder has the same file.
    """
    ways = {}
    for separator in _SEPARATORS:
        escaped = re.escape(separator)
        before = f"the part of the name before the {{}} '{separator}'"
        ways[before.format("first")] = rf"(?:^|/)([^/{escaped}]+){escaped}[^/]*$"
        ways[before.format("last")] = rf"(?:^|/)([^/]+){escaped}[^/{escaped}]*$"
    ways["the letters before the number"] = _LETTERS_THEN_DIGITS
    alone = {name: name for name in names}
    found = [(way, pattern, alone | _matching(names, re.compile(pattern))) for way, pattern in ways.items()]
    return [Groups(of, f"{_count_groups(of)} groups by {way}", pattern) for way, pattern, of in found]


def _is_grouping(of: Mapping[str, str]) -> bool:
    return sum(size >= 2 for size in Counter(of.values()).values()) >= _LEAST_GROUPS


def _groups_by_pattern(names: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group {pattern!r} is no regular expression ({error}); correct it.") from error
    of = _matching(names, compiled)
    odd = next((name for name in names if name not in of), None)
    if odd is not None:
        raise InputError(f"--group {pattern!r} finds nothing in {odd}; change it so that it matches every name.")
    return of


def _matching(names: Sequence[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """The groups of those names that the pattern finds one in: its first group, or the whole match without one."""
    matches = ((name, pattern.search(name)) for name in names)
    found = {name: match[min(pattern.groups, 1)] for name, match in matches if match}
    return {name: group for name, group in found.items() if group}


def _count_groups(of: Mapping[str, str]) -> int:
    return len(set(of.values()))


def _require_groups(found: int, needed: int, what: str) -> None:
    if found < needed:
        raise InputError(
            f"The pictures form {found} group(s), and {what} needs at least {needed}; add pictures, choose smaller "
            "groups with --group, or give the parts as folders train/ and val/."
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
