"""Pictures that belong together, as their names and folders tell or as is said of them.

Pictures of one car, patient or street resemble each other: a score on some of them, after learning from the others,
says little.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from maskwright.config import compile_group
from maskwright.data.folder_words import read_place
from maskwright.errors import InputError

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

    unmerged: Mapping[str, str] | None = None
    """Group of each name before copies joined some; see `merge_groups`."""


def find_groups(
    names: Sequence[str],
    *,
    pattern: str | None = None,
    given: Mapping[str, str | None] | None = None,
    known: str | None = None,
) -> Groups:
    """Find pictures that belong together, by what is said of them or else by their names.

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
            one in them, if it is in every name and puts some of them together: all of them are views of one car then.
            Plain text, which is the same in whatever name it is in, tells no groups.

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
        of = matching(names, re.compile(known))
        is_plain = re.escape(known) == known
        if not is_plain and _count_groups(of) < len(names) == len(of):
            return Groups(of, f"{_count_groups(of)} groups by the pattern {known}, as the model's pictures", known)
    alone = f"no prefix of the names and no folder makes at least {_LEAST_GROUPS} groups of 2 or more"
    return by_prefix or by_folder or Groups({name: name for name in names}, f"each picture stands alone: {alone}")


def prints_of_groups(names: Iterable[str], groups: Mapping[str, str]) -> tuple[str, ...]:
    """Short hashes that recognise the groups of pictures, sorted; a picture that stands alone has none.

    Names of groups may be those of patients, which a model file must not tell.
    """
    return tuple(sorted({print_of_group(groups[name]) for name in names if groups[name] != name}))


def print_of_group(group: str) -> str:
    """A short hash that recognises a group by its name."""
    return hashlib.blake2b(group.encode(), digest_size=8).hexdigest()


def merge_groups(groups: Groups, near: Iterable[tuple[str, str]]) -> Groups:
    """Join the groups of pictures that are copies of each other.

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
    rule = f"{groups.rule}; near-duplicates joined {before} groups to {after}"
    return Groups(of, rule, groups.pattern, unmerged=groups.of)


def join_groups(*ways: Mapping[str, str]) -> dict[str, str]:
    """Groups of what any of several ways puts together, each called by the first of its names in the alphabet.

    >>> join_groups({"a": "x", "b": "x", "c": "y"}, {"a": "a", "b": "z", "c": "z"})
    {'a': 'a', 'b': 'a', 'c': 'a'}

    Args:
        ways: The group of each name, the same names in all of them.
    """
    return _joined({name: name for name in ways[0]}, (link for of in ways for link in _links(of)))


def _coarsest(ways: Sequence[Groups]) -> Groups | None:
    """The way with the fewest groups, of those that do group the pictures."""
    found = [groups for groups in ways if _is_grouping(groups.of)]
    return min(found, key=lambda groups: _count_groups(groups.of), default=None)


def _coarser(by_prefix: Groups, by_folder: Groups) -> Groups:
    """What prefixes and folders put together, or the folders alone where that is too much."""
    of = _joined(by_prefix.of, _links(by_folder.of))
    if not _is_grouping(of):
        return by_folder
    for single in (by_prefix, by_folder):
        if _count_groups(single.of) == _count_groups(of):
            return single
    return Groups(of, f"{_count_groups(of)} groups by the names and the folders together")


def _links(of: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each name, and the first one of its group."""
    first_of: dict[str, str] = {}
    return [(name, first_of.setdefault(group, name)) for name, group in of.items()]


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


def folders_of(name: str) -> list[str]:
    """The groups that a picture's folders may be, outermost first.

    >>> folders_of("train/clinic/patient_1/images/007")
    ['clinic', 'clinic/patient_1']
    """
    plain = read_place(PurePosixPath(name).parts[:-1]).plain_folders
    return ["/".join(plain[:depth]) for depth in range(1, len(plain) + 1)]


def _folder_groups(names: Sequence[str]) -> list[Groups]:
    """Every way to group by the outermost folders; names with fewer folders stand for themselves.

    The same folder in two parts of a split, `train/patient_1` and `val/patient_1`, is one group.
    """
    folders = {name: folders_of(name) for name in names}
    ways = []
    for depth in range(max(map(len, folders.values()), default=0)):
        of = {name: nested[depth] if depth < len(nested) else name for name, nested in folders.items()}
        ways.append(Groups(of, f"{_count_groups(of)} groups by folder"))
    return ways


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
    found = [(way, pattern, alone | matching(names, re.compile(pattern))) for way, pattern in ways.items()]
    return [Groups(of, f"{_count_groups(of)} groups by {way}", pattern) for way, pattern, of in found]


def _is_grouping(of: Mapping[str, str]) -> bool:
    return sum(size >= 2 for size in Counter(of.values()).values()) >= _LEAST_GROUPS


def _groups_by_pattern(names: Sequence[str], pattern: str) -> dict[str, str]:
    of = matching(names, compile_group(pattern))
    odd = next((name for name in names if name not in of), None)
    if odd is not None:
        raise InputError(f"--group {pattern!r} finds nothing in {odd}; change it so that it matches every name.")
    return of


def matching(names: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """The groups of those names that the pattern finds one in: its first group, or the whole match without one."""
    matches = ((name, pattern.search(name)) for name in names)
    found = {name: match[min(pattern.groups, 1)] for name, match in matches if match}
    return {name: group for name, group in found.items() if group}


def _count_groups(of: Mapping[str, str]) -> int:
    return len(set(of.values()))
