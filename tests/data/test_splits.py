import json
from collections import Counter
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest

from maskwright.config import Settings
from maskwright.data.groups import find_groups
from maskwright.data.pairing import find_pairs
from maskwright.data.pairs import Pair
from maskwright.data.splits import apply_split, fold_groups, make_split, read_split, split_groups
from maskwright.errors import InputError
from maskwright.training.run_folder import RunFolder, start_run
from tests.car_names import ALONE, cars


def pairs(names: list[str], split: str | None = None) -> list[Pair]:
    return [Pair(name, Path(f"{name}.jpg"), Path(f"{name}.png"), split) for name in names]


# --- Splits


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_parts(seed: int) -> None:
    groups = find_groups(cars(13)).of
    split = split_groups(groups, val_share=0.2, test_share=0.2, seed=seed)
    parts = {group: {split[name] for name in groups if groups[name] == group} for group in groups}
    assert all(len(part) <= 1 for part in parts.values())
    assert Counter(split.values()) == {"train": 7 * 3, "val": 3 * 3, "test": 3 * 3}


def test_the_order_of_names_changes_nothing() -> None:
    groups = find_groups(cars(13)).of
    backwards = dict(reversed(groups.items()))
    assert split_groups(groups) == split_groups(backwards)


def test_more_pictures_of_a_group_move_no_other() -> None:
    groups = find_groups(cars(13)).of
    more = groups | {"train/car03_99": "car03"}
    assert split_groups(more).items() >= split_groups(groups).items()


def test_the_split_is_the_same_on_every_machine() -> None:
    groups = {name: name for name in "abcdefghij"}
    split = split_groups(groups, val_share=0.3)
    assert [name for name in groups if split[name] == "val"] == ["c", "e", "h"]


def test_another_seed_is_another_split() -> None:
    groups = find_groups(cars(13)).of
    assert len({tuple(split_groups(groups, seed=seed).values()) for seed in range(6)}) > 3


@pytest.mark.parametrize(
    ("num_groups", "val_share", "test_share", "counts"),
    [
        (2, 0.2, 0.0, {"train": 1, "val": 1}),
        (2, 0.9, 0.0, {"train": 1, "val": 1}),
        (3, 0.1, 0.1, {"train": 1, "val": 1, "test": 1}),
        (3, 0.1, 0.8, {"train": 1, "val": 1, "test": 1}),
        (13, 0.2, 0.0, {"train": 10, "val": 3}),
        (10, 0.0, 0.3, {"train": 7, "test": 3}),
        (1, 0.0, 0.0, {"train": 1}),
    ],
)
def test_shares_count_groups_and_leave_one_for_train(
    num_groups: int, val_share: float, test_share: float, counts: dict[str, int]
) -> None:
    groups = {str(n): str(n) for n in range(num_groups)}
    split = split_groups(groups, val_share=val_share, test_share=test_share)
    assert Counter(split.values()) == counts


@pytest.mark.parametrize("seed", range(8))
def test_a_group_of_more_than_half_stays_in_train(seed: int) -> None:
    groups = {f"big_{n}": "big" for n in range(30)} | {f"{n}": f"{n}" for n in range(9)}
    assert split_groups(groups, val_share=0.5, seed=seed)["big_0"] == "train"


@pytest.mark.parametrize(("num_groups", "test_share", "needed"), [(0, 0, 2), (1, 0, 2), (2, 0.2, 3)])
def test_too_few_groups_are_refused(num_groups: int, test_share: float, needed: int) -> None:
    groups = {str(n): str(n) for n in range(num_groups)}
    with pytest.raises(InputError, match=f"form {num_groups} group.* at least {needed};"):
        split_groups(groups, test_share=test_share)


@pytest.mark.parametrize(("val", "test"), [(1.0, 0.0), (0.5, 0.5), (-0.1, 0.0), (0.2, -0.1)])
def test_shares_that_leave_nothing_are_refused(val: float, test: float) -> None:
    with pytest.raises(InputError, match="leave nothing for train"):
        split_groups({"a": "a", "b": "b"}, val_share=val, test_share=test)


# --- Strata


def known_shares(count: int, seed: int) -> dict[str, float]:
    drawn = np.random.default_rng(seed).beta(0.5, 3, count)
    return {f"{n:03}": float(share) for n, share in enumerate(drawn)}


@pytest.mark.parametrize("seed", range(4))
def test_equal_shares_change_nothing(seed: int) -> None:
    groups = find_groups(cars(13)).of
    equal = dict.fromkeys(groups, 0.25)
    splits = [split_groups(groups, val_share=0.3, test_share=0.2, seed=seed, shares=shares) for shares in (equal, None)]
    assert splits[0] == splits[1]
    folds = [fold_groups(groups, folds=4, fold=1, seed=seed, shares=shares) for shares in (equal, None)]
    assert folds[0] == folds[1]


@pytest.mark.parametrize("seed", range(6))
def test_val_has_one_group_of_each_stratum(seed: int) -> None:
    shares = known_shares(40, seed)
    split = split_groups({name: name for name in shares}, val_share=0.2, seed=seed, shares=shares)
    line = sorted(shares, key=shares.__getitem__)
    assert sorted(line.index(name) // 5 for name, part in split.items() if part == "val") == list(range(8))


def test_strata_bring_the_shares_of_val_closer_to_those_of_all() -> None:
    def worst_distance(*, stratified: bool) -> float:
        distances = []
        for seed in range(20):
            shares = known_shares(60, seed)
            split = split_groups({name: name for name in shares}, seed=seed, shares=shares if stratified else None)
            val = [shares[name] for name, part in split.items() if part == "val"]
            distances.append(abs(np.mean(val) - np.mean(list(shares.values()))))
        return float(max(distances))

    assert worst_distance(stratified=True) < 0.5 * worst_distance(stratified=False)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [1, 2, 3, 40])
def test_any_ties_leave_the_counts_and_the_groups_whole(seed: int, levels: int) -> None:
    names = cars(23, views=2)
    groups = find_groups(names).of
    drawn = np.random.default_rng(seed).integers(0, levels, len(names)) / 64
    shares = dict(zip(names, drawn.tolist(), strict=True))
    split = split_groups(groups, val_share=0.4, test_share=0.3, seed=seed, shares=shares)
    assert Counter(split.values()) == {"train": 14, "val": 18, "test": 14}
    assert all(split[one] == split[other] for one, other in combinations(names, 2) if groups[one] == groups[other])


def test_the_order_of_pictures_changes_no_stratum() -> None:
    names = cars(13)
    groups = find_groups(names).of
    shares = {name: 0.1 + number * 0.3 % 0.7 for number, name in enumerate(names)}
    backwards = dict(reversed(groups.items()))
    assert split_groups(groups, shares=shares) == split_groups(backwards, shares=shares)
    folded, again = (fold_groups(of, folds=3, fold=0, shares=shares) for of in (groups, backwards))
    assert folded == again


def test_the_order_within_groups_breaks_no_tie() -> None:
    groups = find_groups(cars(6)).of
    shares = dict(zip(groups, [share for order in permutations((0.1, 0.2, 0.3)) for share in order], strict=True))
    assert len({sum(list(shares.values())[start : start + 3]) for start in range(0, 18, 3)}) > 1
    for seed in range(6):
        assert split_groups(groups, val_share=0.5, seed=seed, shares=shares) == split_groups(
            groups, val_share=0.5, seed=seed
        )


def test_masks_that_are_ignored_everywhere_have_no_share() -> None:
    shares = known_shares(40, 0)
    alone = {name: name for name in shares}
    ignored = list(shares)[::2]
    splits = [split_groups(alone, shares=shares | dict.fromkeys(ignored, share)) for share in (float("nan"), 0.0)]
    assert splits[0] == splits[1]


# --- Folds


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(("num_groups", "folds"), [(13, 5), (10, 5), (2, 2), (7, 7)])
def test_each_group_is_held_out_in_one_fold(num_groups: int, folds: int, stratified: bool) -> None:
    groups = {name: name.split("_")[0] for name in cars(num_groups)}
    shares = {name: number % 11 / 10 for number, name in enumerate(groups)} if stratified else None
    dealt = [fold_groups(groups, folds=folds, fold=fold, seed=3, shares=shares) for fold in range(folds)]
    held_out = [{groups[name] for name, part in split.items() if part == "val"} for split in dealt]
    assert Counter(group for fold in held_out for group in fold) == Counter(set(groups.values()))
    assert max(map(len, held_out)) - min(map(len, held_out)) <= 1
    for split, out in zip(dealt, held_out, strict=True):
        assert not out & {groups[name] for name, part in split.items() if part == "train"}


def test_strata_bring_the_shares_of_folds_closer_to_each_other() -> None:
    def mean_spread(*, stratified: bool) -> float:
        spreads = []
        for seed in range(20):
            known = known_shares(60, seed)
            alone = {name: name for name in known}
            shares = known if stratified else None
            dealt = [fold_groups(alone, folds=5, fold=fold, shares=shares) for fold in range(5)]
            spreads.append(np.ptp([np.mean([known[name] for name in known if fold[name] == "val"]) for fold in dealt]))
        return float(np.mean(spreads))

    assert mean_spread(stratified=True) < 0.5 * mean_spread(stratified=False)


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (0, 0), (3, 3), (3, -1)])
def test_a_fold_that_is_none_is_refused(folds: int, fold: int) -> None:
    with pytest.raises(InputError, match=f"no --fold {fold} of --folds {folds};"):
        fold_groups({"a": "a", "b": "b"}, folds=folds, fold=fold)


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(InputError, match=r"form 2 group.*--folds 3 needs at least 3;.*--group, or take --folds 2"):
        fold_groups({"a": "a", "b": "b"}, folds=3, fold=0)
    with pytest.raises(InputError, match="or leave --folds out"):
        fold_groups({"a": "a", "b": "a"}, folds=3, fold=0)


def test_whoever_has_too_few_groups_is_told_how_they_were_found() -> None:
    pairs = [Pair(f"a_{n}", Path(f"a_{n}.jpg"), Path(f"a_{n}.png")) for n in range(4)]
    for folds in (None, 4):
        with pytest.raises(InputError, match=r"form 1 group\(s\) \(.*near-duplicates joined 4 groups to 1\), and"):
            make_split(
                pairs,
                pattern=None,
                val_share=0.2,
                test_share=0,
                seed=0,
                folds=folds,
                near=[(f"a_{n}", f"a_{n + 1}") for n in range(3)],
            )


# --- The whole way


def test_parts_given_by_folders_are_kept() -> None:
    given = [*pairs(cars(6), "train"), *pairs(["val/a_1", "val/a_2"], "val")]
    split, _ = make_split(given, pattern=None, val_share=0.2, test_share=0.0, seed=0)
    assert split == {pair.name: pair.split for pair in given}


def test_val_comes_from_train_where_folders_give_only_test() -> None:
    given = [*pairs(cars(10), "train"), *pairs(["test/a_1", "test/a_2"], "test")]
    split, groups = make_split(given, pattern=None, val_share=0.2, test_share=0.5, seed=0)
    assert {name for name, part in split.items() if part == "test"} == {"test/a_1", "test/a_2"}
    val_groups = {groups.of[name] for name, part in split.items() if part == "val"}
    assert len(val_groups) == 2
    assert all(split[name] == "val" for name in split if groups.of[name] in val_groups)


def test_pairs_outside_of_val_belong_to_train() -> None:
    given = [*pairs(["a", "b"]), *pairs(["val/c"], "val")]
    split, _ = make_split(given, pattern=None, val_share=0.2, test_share=0.0, seed=0)
    assert split == {"a": "train", "b": "train", "val/c": "val"}


def test_a_picture_without_a_part_goes_where_its_group_is() -> None:
    given = [*pairs(cars(5), "train"), *pairs(["val/a_1", "val/a_2"], "val"), *pairs(["a_3", "train/car00_9", "b_1"])]
    split, _ = make_split(given, pattern=None, val_share=0.2, test_share=0.0, seed=0)
    assert (split["a_3"], split["train/car00_9"], split["b_1"]) == ("val", "train", "train")


def test_a_picture_without_a_part_is_not_learnt_from_where_its_group_is_held_out() -> None:
    given = [*pairs(cars(5), "train"), *pairs(["val/a_1"], "val"), *pairs(["test/a_2"], "test"), *pairs(["a_3"])]
    split, groups = make_split(given, pattern=None, val_share=0.2, test_share=0.0, seed=0)
    assert {name: split[name] for name in split if groups.of[name] == "a"} == {
        "val/a_1": "val",
        "test/a_2": "test",
        "a_3": "test",
    }


def test_groups_of_pairs_are_kept_together() -> None:
    owned = [Pair(f"{n}", Path(f"{n}.jpg"), Path(f"{n}.png"), group=f"owner {n % 4}") for n in range(20)]
    split, groups = make_split(owned, pattern=None, val_share=0.25, test_share=0.0, seed=0)
    assert groups.rule == "4 groups as the manifest gives them"
    assert Counter(split.values()) == {"train": 15, "val": 5}
    assert len({groups.of[name] for name, part in split.items() if part == "val"}) == 1


@pytest.mark.parametrize("seed", range(6))
def test_near_duplicates_are_never_divided(seed: int) -> None:
    alone = pairs([f"{n:02}" for n in range(20)])
    near = [("00", "07"), ("07", "19"), ("03", "11")]
    split, groups = make_split(alone, pattern=None, val_share=0.4, test_share=0.2, seed=seed, near=near)
    assert split["00"] == split["07"] == split["19"]
    assert split["03"] == split["11"]
    assert groups.rule == f"{ALONE}; near-duplicates joined 20 groups to 17"


def test_near_duplicates_across_given_parts_stay_and_show() -> None:
    given = [*pairs(["train/a", "train/b"], "train"), *pairs(["val/c"], "val")]
    split, groups = make_split(given, pattern=None, val_share=0.2, test_share=0.0, seed=0, near=[("train/b", "val/c")])
    assert split == {pair.name: pair.split for pair in given}
    assert groups.of["train/b"] == groups.of["val/c"] != groups.of["train/a"]


def test_folds_leave_a_test_part_alone() -> None:
    found = pairs(cars(13))
    dealt = [
        make_split(found, pattern=None, val_share=0.2, test_share=0.2, seed=0, folds=5, fold=fold)[0]
        for fold in range(5)
    ]
    test = [{name for name, part in split.items() if part == "test"} for split in dealt]
    assert len(test[0]) == 3 * 3
    assert all(names == test[0] for names in test)
    counts = Counter(name for split in dealt for name, part in split.items() if part == "val")
    assert counts == Counter({pair.name for pair in found} - test[0])


def test_folds_are_refused_where_val_is_given() -> None:
    given = [*pairs(["a", "b"]), *pairs(["val/c"], "val")]
    with pytest.raises(InputError, match="give val already; leave --folds out"):
        make_split(given, pattern=None, val_share=0.2, test_share=0.0, seed=0, folds=2)


def test_the_order_of_pairs_changes_nothing() -> None:
    found = pairs(cars(13))
    shares = {pair.name: number % 7 / 10 for number, pair in enumerate(found)}
    near = [("train/car03_00", "train/car05_01"), ("train/car05_02", "train/car01_01")]
    one, other = (
        make_split(order, pattern=None, val_share=0.2, test_share=0.2, seed=1, shares=shares, near=links)
        for order, links in ((found, near), (found[::-1], near[::-1]))
    )
    assert one == other


# --- Saved splits


def test_a_saved_split_is_used_again(tmp_path: Path) -> None:
    found = pairs(cars(13))
    split, groups = make_split(found, pattern=None, val_share=0.2, test_share=0.2, seed=0)
    start_run(RunFolder(tmp_path), Settings(), split, groups)
    saved = read_split(tmp_path / "split.json")
    assert saved == split
    assert apply_split(found[3:], saved) == {pair.name: split[pair.name] for pair in found[3:]}


def test_pictures_that_a_saved_split_does_not_know_are_refused() -> None:
    with pytest.raises(InputError, match=r"not know 2 of 3 pictures, such as new_1; remove them, or leave --split out"):
        apply_split(pairs(["old", "new_2", "new_1"]), {"old": "train", "gone": "val"})


@pytest.mark.parametrize(("left", "missing"), [("a", "val"), ("b", "train")])
def test_a_saved_split_that_leaves_a_part_empty_is_refused(left: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"No picture of the {missing} part of --split"):
        apply_split(pairs([left]), {"a": "train", "b": "val"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"{}",
        b'{"pictures": []}',
        b'{"pictures": {"train": 3}}',
        b'{"pictures": {"train": [["a"]]}}',
        b'{"pictures": {"train": [3]}}',
        b'{"pictures": {"train": []}}',
        b'{"pictures": {"train": ["a"], "val": ["a"]}}',
        b"[" * 200_000,
    ],
    ids=lambda content: content[:30].decode(errors="replace"),
)
def test_a_file_that_is_no_saved_split_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"--split .*split.json (is no|does not put).*; name"):
        read_split(path)


@pytest.mark.parametrize("name", ["", "missing.json"])
def test_a_saved_split_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_split(tmp_path / name)


def test_names_of_any_kind_survive_being_saved(tmp_path: Path) -> None:
    content = {"pictures": {"train": ["größe/ü 1"], "val": ["日本"], "test": []}}
    (tmp_path / "split.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert read_split(tmp_path / "split.json") == {"größe/ü 1": "train", "日本": "val"}


# --- Real names


@pytest.mark.realdata
def test_pictures_of_one_real_car_stay_together(real_data: Path) -> None:
    found = find_pairs(real_data / "carvana").pairs
    split, groups = make_split(found, pattern=None, val_share=0.2, test_share=0.0, seed=0)
    assert groups.rule.startswith("13 groups by the part of the name before the first '_'")
    assert {name.split("/")[1].split("_")[0] for name in split} == set(groups.of.values())
    val = {groups.of[name] for name, part in split.items() if part == "val"}
    train = {groups.of[name] for name, part in split.items() if part == "train"}
    assert (len(val), len(train), val & train) == (3, 10, set())
