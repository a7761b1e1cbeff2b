"""Lists of classes: files such as ``classes.txt`` and ``labelmap.txt``, and what ``--classes`` and ``--ignore`` say."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maskwright.data.formats import fields
from maskwright.data.labels import BACKGROUND
from maskwright.data.pairs import ClassEntry, ClassList, Colour
from maskwright.errors import InputError

CLASS_LIST_NAMES = (
    *("classes.txt", "classes.json", "labelmap.txt", "label_colors.txt", "class_dict.csv"),
    "class_names.txt",
)
IGNORE_NAME = "ignore"
"""The class of pixels that do not count, in lists and in drawings."""

_VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

_MOST_BYTES = 2**20
_MOST_LETTERS = 1000
_COLOUR = "#(?P<hex>[0-9a-f]{6}|[0-9a-f]{3})"
_CHANNELS = r"(?P<r>[0-9]+)(?:[ \t]*,[ \t]*|[ \t]+)(?P<g>[0-9]+)(?:[ \t]*,[ \t]*|[ \t]+)(?P<b>[0-9]+)"
_GAP = r"(?:[ \t]*[,:=][ \t]*|[ \t]+)"
_NAME = r"(?P<name>[^ \t,:=](?:.*?[^ \t,:=])?)"
# A list is of the first kind that fits all of its lines.
_KINDS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        f"{_CHANNELS}{_GAP}{_NAME}",
        f"{_NAME}{_GAP}{_CHANNELS}(?::[^:]*)*",  # CVAT's goes on with parts and actions
        f"{_COLOUR}{_GAP}{_NAME}",
        f"{_NAME}{_GAP}{_COLOUR}",
        rf"(?P<value>-?[0-9]+){_GAP}{_NAME}",
        # Not behind a mere space, where it belongs to the name: "class 1".
        rf"{_NAME}(?:[ ]*[:=,][ ]*|\t+)(?P<value>-?[0-9]+)",
    )
)
_HEADER = re.compile(r"name\W+r(ed)?\W+g(reen)?\W+b(lue)?", re.IGNORECASE)


def _voc_colour(index: int) -> Colour:
    """The index's bits, dealt out to the three channels from the highest down."""
    red, green, blue = (
        sum((index >> 3 * place + channel & 1) << 7 - place for place in range(8)) for channel in range(3)
    )
    return red, green, blue


VOC_CLASSES = tuple(ClassEntry(name, index, _voc_colour(index)) for index, name in enumerate(_VOC_NAMES))
"""The classes of Pascal VOC, with the colours of its palette."""


def read_class_list(path: Path) -> ClassList:
    """Read a file that names the classes.

    Text files have a class on each line: ``car``, ``1 car``, ``car: 1``, ``car,255,0,0``, ``255 0 0 car``,
    ``car #ff0000``, or CVAT's ``car:255,0,0::``. JSON files hold a list of names, a list of objects with ``name`` and
    ``value`` or ``color``, or an object such as ``{"car": 1}``, ``{"car": [255, 0, 0]}`` or ``{"1": "car"}``, on its
    own or as ``{"classes": ..., "ignore": ...}``. The name ``ignore`` stands for pixels that do not count.

    Raises:
        InputError: It cannot be read, is of no such kind, or names something twice.
    """
    if path.suffix.lower() == ".json":
        return _read_json_list(path)
    lines = [line.strip() for line in fields.read_text(path, most=_MOST_BYTES).splitlines()]
    lines = [line for line in lines if line and not _is_comment(line)]
    if any(len(line) > _MOST_LETTERS for line in lines):
        raise InputError(f"{path} has a line of more than {_MOST_LETTERS} letters; write each class on its own line.")
    if lines and _HEADER.fullmatch(lines[0]):
        del lines[0]
    return _class_list(_read_lines(lines, path), str(path))


def parse_classes(text: str) -> ClassList:
    """Read what ``--classes`` says: the name of a file, or the classes themselves.

    >>> [(entry.name, entry.value) for entry in parse_classes("background=0,car=11").entries]
    [('background', 0), ('car', 11)]

    Args:
        text: A file that `read_class_list` reads, ``soil=#000000,crop=#00ff00``, ``background=0,car=1``, or names
            alone, whose values are 0, 1, 2 and so on.

    Raises:
        InputError: It is neither.
    """
    path = Path(text)
    if path.suffix.lower() in (".txt", ".json", ".csv") or not ("," in text or "=" in text):
        return read_class_list(path)
    words = [word.strip() for word in text.split(",")]
    if any("=" in word for word in words):
        odd = next((word for word in words if "=" not in word), None)
        if odd is not None:
            raise InputError(f"--classes gives {odd!r} no value; write {odd or 'name'}=1, or names alone.")
        pairs = [word.rpartition("=") for word in words]
        entries = [_entry(name.strip(), parse_raw(raw), "--classes") for name, _, raw in pairs]
    else:
        entries = [ClassEntry(word) for word in words]
    return _class_list(entries, "--classes")


def parse_raw(text: str) -> int | Colour:
    """Read a raw value or a colour of a mask.

    >>> parse_raw("11"), parse_raw("#00ff00")
    (11, (0, 255, 0))

    Raises:
        InputError: It is neither.
    """
    word = text.strip()
    if re.fullmatch("-?[0-9]{1,9}", word):
        return int(word)
    if match := re.fullmatch(_COLOUR, word, re.IGNORECASE):
        return _parse_hex(match["hex"])
    raise InputError(f"{text[:40]!r} is neither a value nor a colour; write a number such as 11, or '#00ff00'.")


def is_background(name: str) -> bool:
    """Whether a class is what lies around the others."""
    return name.strip("_ ").casefold() == BACKGROUND


def plain_name(name: str) -> str:
    """A class's name; the background and what does not count have one name each, however tools write them."""
    if is_background(name):
        return BACKGROUND
    return IGNORE_NAME if name.strip("_ ").casefold() == IGNORE_NAME else name.strip()


def name_classes(found: Mapping[str, Colour | None], source: str) -> ClassList:
    """List the classes that an annotation file has, after the background, which is what no region covers."""
    colours = {BACKGROUND: None} | {name: colour for name, colour in found.items() if name != IGNORE_NAME}
    if colours[BACKGROUND] is None and len(colours) > 1 and all(list(colours.values())[1:]):
        colours[BACKGROUND] = (0, 0, 0)
    if len(set(colours.values())) < len(colours):
        colours = dict.fromkeys(colours)  # colours that some share tell nothing apart
    return ClassList(tuple(ClassEntry(name, colour=colour) for name, colour in colours.items()), source)


def parse_colour(value: object) -> Colour | None:
    """The colour that a JSON file gives as ``"#93a51d"`` or ``[147, 165, 29]``; None where it is neither."""
    if isinstance(value, str) and (match := re.fullmatch(_COLOUR, value.strip(), re.IGNORECASE)):
        return _parse_hex(match["hex"])
    if isinstance(value, list) and len(value) == 3 and all(type(channel) is int for channel in value):
        red, green, blue = value
        return (red, green, blue) if all(0 <= channel <= 255 for channel in value) else None
    return None


def _read_lines(lines: Sequence[str], path: Path) -> list[ClassEntry]:
    for kind in _KINDS:
        matches = [kind.fullmatch(line) for line in lines]
        if sum(match is not None for match in matches) > len(lines) / 2:
            if None in matches:
                odd = lines[matches.index(None)]
                raise InputError(f"{path}: the line {odd!a} is not like the others ({lines[0]!a}); correct it.")
            return [_entry_of_match(match, path) for match in matches if match]
    # labelme's lists begin with what does not count, which no value stands for.
    return [ClassEntry(line) for line in lines if line.casefold() != "__ignore__"]


def _entry_of_match(match: re.Match[str], path: Path) -> ClassEntry:
    words = match.groupdict()
    if len(words.get("value") or "") > 9:
        raise InputError(f"{path} has the value {words['value'][:40]} ..., which no mask holds; correct it.")
    if words.get("value") is not None:
        return _entry(words["name"], parse_raw(words["value"]), str(path))
    if words.get("hex") is not None:
        return _entry(words["name"], _parse_hex(words["hex"]), str(path))
    colour = parse_colour([int(words[channel][:9]) for channel in "rgb"])
    if colour is None:
        raise InputError(f"{path}: {match[0]!a} is no colour of three numbers from 0 to 255; correct it.")
    return _entry(words["name"], colour, str(path))


def _read_json_list(path: Path) -> ClassList:
    content = fields.read_json(path)
    ignore: object = None
    if isinstance(content, dict) and "ignore" in content:
        ignore = content.pop("ignore")
    if isinstance(content, dict) and isinstance(content.get("classes"), list | dict):
        content = content["classes"]
    if isinstance(content, dict):
        items = [_json_pair(key, value) for key, value in content.items()]
    elif isinstance(content, list):
        items = [_json_item(item) for item in content]
    else:
        items = [None]
    if None in items:
        example = '{"background": 0, "car": 1}'
        raise InputError(f"{path} is no list of classes; write names, or {example} with values or colours.")
    entries = [_entry(name, raw, str(path)) for name, raw in filter(None, items)]
    listed = ignore if isinstance(ignore, list) and parse_colour(ignore) is None else [ignore]
    ignored = [_json_raw(raw) for raw in listed if raw is not None]
    if None in ignored:
        raise InputError(f"{path}: 'ignore' should be a value, a colour or a list of these; correct it.")
    return _class_list([*entries, *(_entry(IGNORE_NAME, raw, str(path)) for raw in ignored)], str(path))


def _json_item(item: object) -> tuple[str, int | Colour | None] | None:
    if isinstance(item, str):
        return item, None
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return None
    given = [item[key] for key in ("value", "color", "colour", "id") if item.get(key) is not None]
    return (item["name"], None) if not given else _json_pair(item["name"], given[0])


def _json_pair(name: str, raw: object) -> tuple[str, int | Colour | None] | None:
    if isinstance(raw, str) and re.fullmatch("[0-9]{1,9}", name) and not raw.startswith("#"):
        return raw, int(name)
    value = _json_raw(raw)
    return None if value is None else (name, value)


def _json_raw(raw: object) -> int | Colour | None:
    return raw if type(raw) is int and abs(raw) < 10**9 else parse_colour(raw)


def _entry(name: str, raw: int | Colour | None, source: str) -> ClassEntry:
    if not name.strip():
        raise InputError(f"{source} holds a class without a name; give it one.")
    return ClassEntry(name, colour=raw) if isinstance(raw, tuple) else ClassEntry(name, value=raw)


def _class_list(found: Sequence[ClassEntry], source: str) -> ClassList:
    """The list, checked: background first, and what does not count apart."""
    entries = [replace(entry, name=plain_name(entry.name)) for entry in found]
    if not all(entry.name for entry in entries):
        raise InputError(f"{source} holds a class without a name; give it one.")
    ignored = [entry for entry in entries if entry.name == IGNORE_NAME]
    is_numbered = [entry.value is None and entry.colour is None for entry in ignored]
    ignore = [entries.index(entry) if bare else _raw(entry) for entry, bare in zip(ignored, is_numbered, strict=True)]
    first = next((entry for entry in entries if entry.name == BACKGROUND), entries[0] if entries else None)
    if entries and (first != entries[0] or any(is_numbered)):
        # A class that is named alone is known by its place, which it is about to lose.
        entries = [
            replace(entry, value=place) if entry.value is None and entry.colour is None else entry
            for place, entry in enumerate(entries)
        ]
    entries.sort(key=lambda entry: entry.name != BACKGROUND)
    entries = [entry for entry in entries if entry.name != IGNORE_NAME]
    if not entries:
        raise InputError(f"{source} names no classes; write one on each line, or background=0,car=1.")
    _refuse_twice(entries, source, "name", lambda entry: entry.name)
    _refuse_twice(entries, source, "value", lambda entry: entry.value)
    _refuse_twice(entries, source, "colour", lambda entry: entry.colour)
    return ClassList(tuple(entries), source, tuple(raw for raw in ignore if raw is not None))


def _raw(entry: ClassEntry) -> int | Colour | None:
    return entry.colour if entry.value is None else entry.value


def _refuse_twice(
    entries: Sequence[ClassEntry], source: str, what: str, key: Callable[[ClassEntry], str | int | Colour | None]
) -> None:
    counts = Counter(key(entry) for entry in entries)
    twice = next((value for value, count in counts.items() if value is not None and count > 1), None)
    if twice is not None:
        raise InputError(f"{source} gives the {what} {twice!r} to two classes; keep one of them.")


def _parse_hex(digits: str) -> Colour:
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _is_comment(line: str) -> bool:
    return line.startswith("#") and not re.match(rf"{_COLOUR}\b", line, re.IGNORECASE)
