from collections import Counter
from pathlib import Path

import pytest

from maskwright.data.pairing import find_pairs
from maskwright.data.pairs import Pair
from maskwright.data.splits import find_groups, make_split, split_groups
from maskwright.errors import InputError

ALONE = "each picture stands alone: no prefix of the names makes at least 5 groups of 2 or more"


def cars(count: int, views: int = 3) -> list[str]:
    return [f"train/car{car:02}_{view:02}" for car in range(count) for view in range(views)]


def pairs(names: list[str], split: str | None = None) -> list[Pair]:
    return [Pair(name, Path(f"{name}.jpg"), Path(f"{name}.png"), split) for name in names]


# --- Groups


@pytest.mark.parametrize("separator", ["_", "-", ".", " "])
def test_a_prefix_with_enough_pictures_is_a_group(separator: str) -> None:
    names = [f"images/{car}{separator}{view}" for car in "abcde" for view in "12"]
    groups = find_groups(names)
    assert groups.of == {name: name[7] for name in names}
    assert groups.rule == f"5 groups by the part of the name before the first '{separator}'"


def test_few_groups_leave_each_picture_alone() -> None:
    names = cars(4)
    groups = find_groups(names)
    assert groups.of == {name: name for name in names}
    assert groups.rule == ALONE


def test_single_pictures_are_kept_beside_enough_groups() -> None:
    names = [*cars(5), "train/lonely_01", "train/plain"]
    groups = find_groups(names)
    assert len(set(groups.of.values())) == 7
    assert groups.of["train/plain"] == "train/plain"


def test_a_separator_in_front_is_no_prefix() -> None:
    groups = find_groups([*cars(5), "_one", "_two"])
    assert groups.of["_one"] != groups.of["_two"]


def test_the_part_before_the_last_separator_serves_where_the_first_does_not() -> None:
    names = [f"scan_{patient}_{cut}" for patient in range(6) for cut in range(3)]
    groups = find_groups(names)
    assert groups.of["scan_4_2"] == "scan_4"
    assert groups.rule.endswith("before the last '_'")


def test_of_several_prefixes_the_coarsest_is_taken() -> None:
    names = [f"{city}_{street}_{n}" for city in "abcdef" for street in "xy" for n in "12"]
    assert set(find_groups(names).of.values()) == set("abcdef")


def test_letters_before_the_number_serve_where_there_are_enough() -> None:
    names = [f"{city}{n}" for city in ("bonn", "köln", "trier", "ulm", "jena") for n in (1, 20)]
    groups = find_groups(names)
    assert groups.of["köln20"] == "köln"
    assert groups.rule == "5 groups by the letters before the number"


@pytest.mark.parametrize(
    "names",
    [
        [f"img{n:03}" for n in range(40)],
        [f"img_{n:03}" for n in range(40)],
        [f"{n:04}_image" for n in range(40)],
        [f"{n}" for n in range(40)],
        [f"{n * 7919:064x}" for n in range(1, 40)],
        [f"IMG-2023.{n:02}" for n in range(40)],
        ["_a", "_b", "-c", "", "d_"],
        [],
    ],
)
def test_plain_numbering_is_no_group(names: list[str]) -> None:
    assert find_groups(names).of == {name: name for name in names}


def test_only_the_file_name_makes_a_prefix() -> None:
    names = [f"set_{n}/frame{n}" for n in range(6)] + [f"set_{n}/shot{n}" for n in range(6)]
    assert find_groups(names).rule == ALONE


@pytest.mark.parametrize(("pattern", "group"), [(r"car(\d+)", "01"), (r"car\d", "car0"), (r"^\w+(?=/)", "train")])
def test_a_pattern_decides_instead(pattern: str, group: str) -> None:
    groups = find_groups(cars(2), pattern=pattern)
    assert groups.of["train/car01_02"] == group
    assert groups.rule.endswith(f"by the pattern {pattern}")


@pytest.mark.parametrize("pattern", ["nothing", "car01", "x*", "(z)?car"])
def test_a_pattern_that_misses_a_name_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="finds nothing in train/car00_00; change it"):
        find_groups(cars(2), pattern=pattern)


def test_a_bad_pattern_is_refused() -> None:
    with pytest.raises(InputError, match=r"'\(' is no regular expression"):
        find_groups(cars(2), pattern="(")


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


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["people", "nuclei", "crops", "cracks", "membranes", "camvid"])
def test_real_sets_without_groups_stand_alone(real_data: Path, name: str) -> None:
    # CamVid's frames come from 3 films (0001TP, 0006R0, 0016E5): too few groups, but its folders
    # give the split.
    found = find_pairs(real_data / name).pairs
    assert find_groups([pair.name for pair in found]).rule == ALONE


def test_equal_stems_in_different_folders_are_no_group() -> None:
    names = [f"{case}/{number:03d}" for case in ("case_a", "case_b") for number in range(6)]
    groups = find_groups(names)
    assert groups.of == {name: name for name in names}
