from pathlib import Path

import pytest

from maskwright.data.formats.class_lists import VOC_CLASSES, parse_classes, parse_raw, read_class_list
from maskwright.data.pairs import ClassEntry, ClassList, Colour
from maskwright.errors import InputError

COLOURED = (ClassEntry("background", colour=(0, 0, 0)), ClassEntry("car door", colour=(255, 0, 10)))
NUMBERED = (ClassEntry("background", 0), ClassEntry("car door", 7))
NAMED = (ClassEntry("background"), ClassEntry("car door"))


def read(folder: Path, text: str, name: str = "classes.txt") -> ClassList:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_class_list(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("background\ncar door\n", NAMED),
        ("\ufeffbackground\r\n\r\ncar door\r\n", NAMED),
        ("_background_\ncar door", NAMED),
        ("__ignore__\n_background_\ncar door", NAMED),
        ("0 background\n7 car door", NUMBERED),
        ("0: background\n7: car door", NUMBERED),
        ("background: 0\ncar door: 7", NUMBERED),
        ("background=0\ncar door=7", NUMBERED),
        ("background\t0\ncar door\t7", NUMBERED),
        ("background,0,0,0\ncar door,255,0,10", COLOURED),
        ("name,r,g,b\nbackground,0,0,0\ncar door,255,0,10", COLOURED),
        ("0 0 0 background\n255 0 10 car door", COLOURED),
        ("0 0 0\t\tbackground\n255 0 10\t\tcar door", COLOURED),
        ("background 0 0 0\ncar door 255 0 10", COLOURED),
        ("background #000\ncar door #FF000a", COLOURED),
        ("#000000 background\n#ff000a car door", COLOURED),
        ("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar door:255,0,10::", COLOURED),
        ("car door:255,0,10:wheel,lamp:\nbackground:0,0,0::", COLOURED),
        ("class 1\nclass 2", (ClassEntry("class 1"), ClassEntry("class 2"))),
    ],
)
def test_text_lists(tmp_path: Path, text: str, expected: tuple[ClassEntry, ...]) -> None:
    assert read(tmp_path, text) == ClassList(expected, str(tmp_path / "classes.txt"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["background", "car door"]', NAMED),
        ('{"background": 0, "car door": 7}', NUMBERED),
        ('{"0": "background", "7": "car door"}', NUMBERED),
        ('{"background": [0, 0, 0], "car door": "#ff000a"}', COLOURED),
        ('[{"name": "background", "value": 0}, {"name": "car door", "value": 7}]', NUMBERED),
        ('[{"name": "background", "color": "#000000"}, {"name": "car door", "color": [255, 0, 10]}]', COLOURED),
        ('{"classes": ["background", "car door"]}', NAMED),
    ],
)
def test_json_lists(tmp_path: Path, text: str, expected: tuple[ClassEntry, ...]) -> None:
    assert read(tmp_path, text, "classes.json").entries == expected


@pytest.mark.parametrize(
    ("text", "name", "ignore"),
    [
        ('{"background": 0, "car": 1, "ignore": 255}', "classes.json", (255,)),
        (
            '{"classes": {"background": 0, "car": 1}, "ignore": [255, "#ffffff"]}',
            "classes.json",
            (255, (255, 255, 255)),
        ),
        ('{"background": [0, 0, 0], "car": [1, 1, 1], "ignore": [9, 9, 9]}', "classes.json", ((9, 9, 9),)),
        ("background 0 0 0\ncar 1 1 1\nignore 9 9 9", "classes.txt", ((9, 9, 9),)),
        ("background\nignore\ncar", "classes.txt", (1,)),
    ],
)
def test_what_does_not_count_is_no_class(
    tmp_path: Path, text: str, name: str, ignore: tuple[int | Colour, ...]
) -> None:
    classes = read(tmp_path, text, name)
    assert classes.ignore == ignore
    assert [entry.name for entry in classes.entries] == ["background", "car"]


def test_places_survive_when_the_background_comes_first(tmp_path: Path) -> None:
    assert read(tmp_path, "car\nroad\nbackground").entries == (
        ClassEntry("background", 2),
        ClassEntry("car", 0),
        ClassEntry("road", 1),
    )


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("", "classes.txt", "is empty"),
        ("# only a comment", "classes.txt", "names no classes"),
        ("car\ncar", "classes.txt", "the name 'car' to two"),
        ("0 car\n0 road", "classes.txt", "the value 0 to two"),
        ("car 1 1 1\nroad 1 1 1", "classes.txt", r"the colour \(1, 1, 1\) to two"),
        ("car 1 1 1\nroad 1 1 1\nsky 1 1", "classes.txt", "line 'sky 1 1' is not like the others"),
        ("car 1 1 999\nroad 1 1 1", "classes.txt", "no colour of three numbers"),
        (f"car {'9' * 500} 1 1", "classes.txt", "no colour of three numbers"),
        (f"{'9' * 500} car", "classes.txt", "no mask holds"),
        ("a" + " " * 5000 + "b", "classes.txt", "more than 1000 letters"),
        ("[" * 100_000, "classes.json", "nested too deeply"),
        ('{"car": 1', "classes.json", "no valid JSON"),
        ('{"car": "red"}', "classes.json", "no list of classes"),
        ('{"car": 1e999}', "classes.json", "no list of classes"),
        ("[1, 2]", "classes.json", "no list of classes"),
        ("7", "classes.json", "no list of classes"),
        ("[]", "classes.json", "names no classes"),
        ('["", "car"]', "classes.json", "without a name"),
        ('{"car": 1, "ignore": "red"}', "classes.json", "'ignore' should be"),
    ],
)
def test_each_fault_has_its_sentence(tmp_path: Path, text: str, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, text, name)
    assert name in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"car\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_class_list(path)


def test_classes_on_the_command_line() -> None:
    assert parse_classes("background=0,car door=7").entries == NUMBERED
    assert parse_classes("background=#000000, car door=#ff000a").entries == COLOURED
    assert parse_classes("background,car door").entries == NAMED
    assert parse_classes("background=0,car=1,ignore=255").ignore == (255,)
    assert parse_classes("background,car").source == "--classes"


def test_classes_may_name_a_file(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("background\ncar door")
    assert parse_classes(str(tmp_path / "names")).entries == NAMED


@pytest.mark.parametrize(
    "text", ["background=0,car", "a=1,a=2", "a=,b=1", "=1,b=2", ",", "no/such.txt", "a\0.txt", "a=0," * 500 + "b=", "a"]
)
def test_nonsense_on_the_command_line_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_classes(text)


@pytest.mark.parametrize(("text", "raw"), [("11", 11), (" -1 ", -1), ("#00ff00", (0, 255, 0)), ("#0F0", (0, 255, 0))])
def test_raw_values(text: str, raw: int | Colour) -> None:
    assert parse_raw(text) == raw


@pytest.mark.parametrize("text", ["", "red", "#12", "1.5", "1,2,3", "9" * 5000, "１"])
def test_raw_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="neither a value nor a colour"):
        parse_raw(text)


def test_voc_colours() -> None:
    colours = {entry.name: entry.colour for entry in VOC_CLASSES}
    assert len(colours) == 21
    assert colours["aeroplane"] == (128, 0, 0)
    assert colours["person"] == (192, 128, 128)
    assert colours["tvmonitor"] == (0, 64, 128)
