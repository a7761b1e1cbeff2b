from pathlib import Path

import pytest

from maskwright.data.groups import Groups, find_groups, merge_groups, print_of_group, prints_of_groups
from maskwright.data.pairing import find_pairs
from maskwright.errors import InputError
from tests.car_names import ALONE, cars


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


def test_the_pattern_that_found_groups_finds_them_again_where_there_are_few() -> None:
    for names in (
        cars(6),
        [f"scan_{patient}_{cut}" for patient in range(6) for cut in range(3)],
        [f"{city}{n}" for city in ("bonn", "köln", "trier", "ulm", "jena") for n in (1, 20)],
    ):
        groups = find_groups(names)
        few = sorted(names)[: len(names) // 2]
        assert find_groups(few).rule == ALONE
        again = find_groups(few, known=groups.pattern)
        assert again.of == {name: groups.of[name] for name in few}
        assert again.pattern == groups.pattern


def test_views_of_one_car_are_one_group_by_the_pattern_that_found_many() -> None:
    for names in (
        cars(6, views=16),
        [f"{city}{n:02}" for city in ("bonn", "köln", "trier", "ulm", "jena") for n in (1, 2)],
    ):
        groups = find_groups(names)
        one = [name for name in names if groups.of[name] == groups.of[names[0]]]
        assert find_groups(one).rule == ALONE
        assert find_groups(one, known=groups.pattern).of == {name: groups.of[name] for name in one}


def test_a_single_picture_stands_alone_whatever_pattern_is_known() -> None:
    assert find_groups(["train/car00_00"], known=find_groups(cars(6)).pattern).rule == ALONE


@pytest.mark.parametrize("known", ["car0[01]_", "train", "$"])
def test_a_known_pattern_that_says_nothing_of_these_names_is_left(known: str) -> None:
    assert find_groups(cars(3), known=known).rule == ALONE


def test_what_is_found_or_given_goes_before_a_known_pattern() -> None:
    assert find_groups(cars(6), known="_(.)").of == find_groups(cars(6)).of
    assert (
        find_groups(cars(2), given=dict.fromkeys(cars(2), "a"), known="car(..)").rule
        == "1 groups as the manifest gives them"
    )


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


@pytest.mark.parametrize("below", ["", "images/", "cut/images/"])
def test_folders_group_where_no_prefix_does(below: str) -> None:
    names = [f"patient_{n}/{below}{cut:03}" for n in range(5) for cut in range(2)]
    groups = find_groups(names)
    assert groups.of == {name: name.split("/")[0] for name in names}
    assert groups.rule == "5 groups by folder"


def test_of_nested_folders_the_outermost_that_group_are_taken() -> None:
    names = [f"clinic/patient_{n}/{kind}/{cut}" for n in range(6) for kind in ("t1", "t2") for cut in range(3)]
    assert set(find_groups(names).of.values()) == {f"clinic/patient_{n}" for n in range(6)}


def test_a_folder_in_two_given_parts_is_one_group() -> None:
    names = [f"{part}/images/patient_{n}/{cut}" for part in ("train", "val") for n in range(5) for cut in range(2)]
    assert set(find_groups(names).of.values()) == {f"patient_{n}" for n in range(5)}


def test_few_or_lonely_folders_are_no_groups() -> None:
    few = [f"case_{n}/{cut:03}" for n in range(4) for cut in range(9)]
    lonely = [f"case_{n}/scan" for n in range(40)]
    assert find_groups(few).rule == find_groups(lonely).rule == ALONE


def test_of_prefixes_and_folders_the_coarser_one_is_taken() -> None:
    finer_folders = [f"{car}_{day}/{car}_{view}" for car in "abcde" for day in "12" for view in "34"]
    assert set(find_groups(finer_folders).of.values()) == set("abcde")
    finer_prefixes = [f"town_{town}/{town}{car}_{view}" for town in "abcde" for car in "12" for view in "34"]
    assert set(find_groups(finer_prefixes).of.values()) == {f"town_{town}" for town in "abcde"}


def test_a_prefix_that_starts_anew_in_each_folder_divides_none() -> None:
    names = [f"patient_{n:02}/{cut:03}_image" for n in range(20) for cut in range(9)]
    assert find_groups(names).rule == "20 groups by folder"


def test_a_prefix_that_lies_in_two_folders_joins_them() -> None:
    names = [f"day_{day}/car{car}_{view}" for car, day in enumerate("aabbccddeeff") for view in "12"]
    groups = find_groups([*names, "day_e/car0_3"])
    assert groups.of["day_a/car1_1"] == groups.of["day_e/car9_1"]
    assert groups.rule == "5 groups by the names and the folders together"


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


def test_groups_of_a_manifest_go_before_names() -> None:
    names = cars(6)
    given = {name: f"owner {name[10]}" for name in names[:-1]} | {names[-1]: None}
    groups = find_groups(names, given=given)
    assert groups.of == {name: given[name] or name for name in names}
    assert groups.rule == "7 groups as the manifest gives them"


def test_a_pattern_goes_before_a_manifest_and_no_manifest_before_names() -> None:
    names = cars(6)
    assert find_groups(names, pattern="car", given=dict.fromkeys(names, "x")).rule == "1 groups by the pattern car"
    assert find_groups(names, given=dict.fromkeys(names)) == find_groups(names)


def test_equal_stems_in_different_folders_are_no_group() -> None:
    names = [f"{case}/{number:03d}" for case in ("case_a", "case_b") for number in range(6)]
    groups = find_groups(names)
    assert groups.of == {name: name for name in names}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["people", "nuclei", "crops", "cracks", "membranes", "camvid"])
def test_real_sets_without_groups_stand_alone(real_data: Path, name: str) -> None:
    # CamVid's frames come from 3 films (0001TP, 0006R0, 0016E5): too few groups, but its folders
    # give the split.
    found = find_pairs(real_data / name).pairs
    assert find_groups([pair.name for pair in found]).rule == ALONE


# --- Near-duplicates


def test_groups_of_near_duplicates_become_one() -> None:
    groups = find_groups(cars(6))
    near = [("train/car04_00", "train/car01_02"), ("train/car01_00", "train/car02_00")]
    merged = merge_groups(groups, near)
    assert merged.of == {name: "car01" if group in ("car02", "car04") else group for name, group in groups.of.items()}
    assert merged.rule == f"{groups.rule}; near-duplicates joined 6 groups to 4"
    assert merged.unmerged == groups.of


def test_near_duplicates_within_a_group_change_nothing() -> None:
    groups = find_groups(cars(6))
    assert merge_groups(groups, [("train/car04_00", "train/car04_02")]) is groups


def test_the_order_of_near_duplicates_changes_nothing() -> None:
    groups = Groups({name: name for name in "abcdefgh"}, "alone")
    near = [("a", "b"), ("d", "c"), ("b", "d"), ("g", "h"), ("h", "f")]
    merged = merge_groups(groups, near)
    backwards = merge_groups(groups, [(second, first) for first, second in reversed(near)])
    assert merged == backwards
    assert merged.of == dict(zip("abcdefgh", "aaaaefff", strict=True))


def test_groups_are_recognised_by_hashes_that_do_not_tell_their_names() -> None:
    groups = {"anna_1": "anna", "anna_2": "anna", "ben_1": "ben", "alone": "alone"}
    assert prints_of_groups(groups, groups) == tuple(sorted((print_of_group("anna"), print_of_group("ben"))))
    assert prints_of_groups(["anna_2", "alone"], groups) == (print_of_group("anna"),)
    assert "anna" not in print_of_group("anna")
