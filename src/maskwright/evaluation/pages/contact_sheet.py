"""The doctor's page: what is in a folder of photographs and masks, with the pictures that a finding is about."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.data.examination import Picture
from maskwright.data.image_files import IMAGE_SUFFIXES, describe, fit_size, resize_classes, resize_image
from maskwright.data.input_format import read_image
from maskwright.data.reading import Formats, read_pair
from maskwright.data.report import LEVELS, Diagnosis, Finding, Level, counted, shown_name
from maskwright.data.threads import in_threads, limit_pixels
from maskwright.errors import InputError
from maskwright.evaluation.pages.markup import Html, bar, page, picture_url, tag
from maskwright.files import write_text
from maskwright.inference.outputs import FIRST_COLOURS, as_rgb, class_colours, overlay

# Pictures on the page: those spread over the folder, those of one finding, and all of them. With 10 kB for each, the
# page can be sent by mail.
SPREAD, OF_A_FINDING, IN_ALL = 36, 6, 120
# Longer side of a picture on the page, in pixels; twice what it takes there, for sharp screens.
PREVIEW = 300
# Files and groups that are listed by name.
MOST_LISTED = 200
BINS = 20

_LEVEL_WORDS: dict[Level, str] = {
    "problem": "Problem: training refuses this",
    "question": "Question",
    "warning": "Warning",
    "note": "Note",
}


def write_contact_sheet(path: Path, diagnosis: Diagnosis, *, advance: Callable[[], None]) -> None:
    """Read the pictures that are shown once more, and write the page.

    Args:
        path: The HTML file.
        diagnosis: What it shows.
        advance: Called after each of `shown_pictures`.
    """
    names = shown_pictures(diagnosis)
    by_name = {name: picture for picture in diagnosis.pictures for name in _names_of(picture, diagnosis)}
    reading = limit_pixels()

    def preview(name: str) -> str | None:
        try:
            with suppress(InputError):
                return picture_url(_draw(name, by_name.get(name), diagnosis, reading))
            return None  # it cannot be shown: a finding says why
        finally:
            advance()

    found = zip(names, in_threads(preview, names), strict=True)
    previews = {name: url for name, url in found if url}
    write_text(path, _draw_page(diagnosis, previews))


def shown_pictures(diagnosis: Diagnosis) -> list[str]:
    """Names of the files that the page shows: the first few of each finding, and some evenly spaced."""
    of_findings = [name for finding in diagnosis.findings for name in list(finding.files)[:OF_A_FINDING]]
    pictures = diagnosis.pictures
    places = np.linspace(0, len(pictures) - 1, min(SPREAD, len(pictures))).astype(int)
    spread = [diagnosis.name_of(pictures[place]) for place in places]
    return list(dict.fromkeys([*spread, *of_findings]))[:IN_ALL]


def _draw_page(diagnosis: Diagnosis, previews: Mapping[str, str]) -> str:
    """The whole document.

    Args:
        diagnosis: What it shows.
        previews: Data URLs of pictures, by the name of the file.
    """
    sections = [_header(diagnosis), _cards(diagnosis), _findings(diagnosis.findings, previews)]
    if diagnosis.pictures:
        sections += [
            tag("div", _classes(diagnosis), _foreground(diagnosis), class_="two"),
            tag("div", _split(diagnosis), _resolution(diagnosis), class_="two"),
            _sheet(diagnosis, previews),
        ]
    name = diagnosis.folder.resolve().name
    footer = tag(
        "footer", f"Written by maskwright check. Masks are drawn over the pictures; nothing in {name} was changed."
    )
    return page(f"{name}: check", *sections, footer)


# --- Pictures


def _names_of(picture: Picture, diagnosis: Diagnosis) -> list[str]:
    return [shown_name(path, diagnosis.folder) for path in (picture.pair.mask_path, picture.pair.image)]


def _draw(
    name: str, picture: Picture | None, diagnosis: Diagnosis, reading: Callable[[int], AbstractContextManager[None]]
) -> NDArray[np.uint8]:
    """A small picture with its mask over it; of a file that cannot be used, what of it can be seen."""
    path = picture.pair.image if picture else diagnosis.folder / name
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{path} is no picture.")
    stored = describe(path)
    with reading(stored.height * stored.width):
        if picture is None:
            image = as_rgb(read_image(path, diagnosis.formats.input))
            return resize_image(image, *_preview_size(image))
        image, mask = read_pair(picture.pair, diagnosis.formats)
    size = _preview_size(image)
    return overlay(resize_image(as_rgb(image), *size), resize_classes(mask, *size), diagnosis.formats.labels)


def _preview_size(image: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = image.shape[:2]
    return fit_size(height, width, PREVIEW)


def _figure(name: str, url: str, *lines: str) -> Html:
    said = [tag("div", line) for line in lines if line]
    return tag("figure", tag("img", src=url, alt=name, loading="lazy"), tag("figcaption", tag("b", name), *said))


# --- Sections


def _header(diagnosis: Diagnosis) -> Html:
    numbers = Counter(finding.level for finding in diagnosis.findings)
    graver = [counted(numbers[level], level) for level in LEVELS[:-1] if numbers[level]]
    words = {
        "clean": "Ready to train: nothing to mend, and nothing to answer.",
        "findings": f"{', '.join(graver)}.".capitalize(),
        "unusable": "No picture of this folder can be used.",
    }
    colour = next((level for level in LEVELS[:-1] if numbers[level]), "clean")
    return tag(
        "header",
        tag("p", "maskwright check", class_="eyebrow"),
        tag("h1", diagnosis.folder.resolve().name),
        tag("p", f"{diagnosis.folder} · {diagnosis.layout}", class_="soft"),
        tag("p", words[diagnosis.verdict], class_="verdict", style=f"color:var(--{colour})"),
    )


def _cards(diagnosis: Diagnosis) -> Html:
    cards = [(f"{len(diagnosis.pictures):,}", "pictures with masks")]
    if diagnosis.pictures:
        parts = diagnosis.parts()
        bound = diagnosis.bound().get(diagnosis.size)
        sizes = diagnosis.sizes()
        width, height = sizes[len(sizes) // 2]
        cards += [
            (str(diagnosis.formats.labels.num_classes), "classes"),
            (f"{len(set(diagnosis.groups.of.values())):,}", "groups"),
            (" + ".join(str(pictures) for pictures, _ in parts.values()) or "none", " + ".join(parts) or "split"),
            (f"{width}×{height}", "pixels" if len(set(sizes)) == 1 else "pixels, the median"),
        ]
        cards += [(f"{bound:.3f}", f"best Dice at {diagnosis.size}")] if bound else []
    return tag(
        "div",
        *(tag("div", tag("b", number), tag("span", word, class_="soft"), class_="card") for number, word in cards),
        class_="cards",
    )


def _findings(findings: Sequence[Finding], previews: Mapping[str, str]) -> Html:
    if not findings:
        return Html()
    return tag("section", tag("h2", "What was found"), *(_finding(finding, previews) for finding in findings))


def _finding(finding: Finding, previews: Mapping[str, str]) -> Html:
    first = list(finding.files.items())[:OF_A_FINDING]
    figures = [_figure(name, previews[name], said) for name, said in first if name in previews]
    sheet = tag("div", *figures, class_="sheet") if figures else ""
    seen = {name for name, _ in first if name in previews}
    unseen = [(name, said) for name, said in finding.files.items() if name not in seen]
    listed = [tag("li", name, f": {said}" if said else "") for name, said in unseen[:MOST_LISTED]]
    if len(unseen) > MOST_LISTED:
        listed.append(tag("li", f"and {len(unseen) - MOST_LISTED:,} more, in check.json"))
    names = tag("ul", *listed) if listed else ""
    is_note = finding.level == "note"
    summary = counted(len(finding.files if is_note else unseen), "file") + (" more" if figures and not is_note else "")
    # Of notes, pictures are shown when asked for; of a finding without pictures, the names are all there is to see.
    folded = (sheet if is_note else "", names)
    return tag(
        "article",
        tag("div", _LEVEL_WORDS[finding.level], class_="level"),
        tag("p", finding.sentence, class_="sentence"),
        tag("p", finding.remedy, class_="soft") if finding.remedy else "",
        "" if is_note else sheet,
        tag("details", tag("summary", summary), *folded, open=None if figures or is_note else "")
        if any(folded)
        else "",
        class_=f"finding {finding.level}",
    )


def _classes(diagnosis: Diagnosis) -> Html:
    shares = diagnosis.classes()
    colours = _colours(diagnosis.formats)
    most = max((some.share for some in shares), default=1) or 1
    rows = [
        tag(
            "tr",
            tag(
                "td",
                tag("span", class_="swatch", style=f"background:{colour}"),
                some.name,
                class_="name",
                title=some.name,
            ),
            tag("td", bar(some.share / most, colour), class_="wide"),
            tag("td", _percent(some.share), class_="figure"),
            tag("td", f"{some.pictures:,}", class_="figure"),
        )
        for some, colour in zip(shares, colours, strict=True)
    ]
    head = tag(
        "tr",
        tag("th", "class"),
        tag("th", ""),
        tag("th", "pixels", class_="figure"),
        tag("th", "pictures", class_="figure"),
    )
    return tag("section", tag("h2", "Classes"), tag("div", tag("table", head, *rows), class_="panel"))


def _colours(formats: Formats) -> list[str]:
    """What the overlays show a class in; see `overlay`."""
    colours = class_colours(formats.labels) if formats.labels.num_classes > 2 else ((0, 0, 0), FIRST_COLOURS[0])
    is_drawn = set(formats.labels.scored_classes)
    return [
        "rgb({},{},{})".format(*colour) if index in is_drawn else "var(--soft)" for index, colour in enumerate(colours)
    ]


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.01 or share == 0 else f"{share:.2%}"


def _foreground(diagnosis: Diagnosis) -> Html:
    """How many pictures show how much, where there is a background to tell it from."""
    labels = diagnosis.formats.labels
    if len(labels.scored_classes) == labels.num_classes:
        return Html()
    shares = [picture.share_of(labels.scored_classes) for picture in diagnosis.pictures]
    most = max(0.05, *shares) if shares else 1.0
    heights, _ = np.histogram(shares, BINS, (0, most))
    tallest = max(1, int(heights.max()))
    columns = [
        tag(
            "rect",
            x=place * 20 + 1,
            y=f"{100 - 98 * number / tallest:.1f}",
            width=18,
            rx=2,
            height=f"{98 * number / tallest:.1f}",
        )
        for place, number in enumerate(heights.tolist())
    ]
    drawing = tag(
        "svg", *columns, viewBox=f"0 0 {20 * BINS} 100", role="img", aria_label="Histogram of the foreground's share"
    )
    axis = tag(
        "div",
        tag("span", "0 %"),
        tag("span", "share of a picture that is not background"),
        tag("span", f"{most:.0%}"),
        class_="axis soft",
    )
    return tag("section", tag("h2", "How much of a picture"), tag("div", drawing, axis, class_="panel"))


def _split(diagnosis: Diagnosis) -> Html:
    parts = diagnosis.parts()
    heading = tag("h2", "Groups and split")
    rule = tag("p", f"{diagnosis.groups.rule}.".capitalize(), class_="soft")
    if not parts:
        return tag("section", heading, tag("div", rule, class_="panel"))
    stack = tag("div", *(tag("div", style=f"flex:{pictures}") for pictures, _ in parts.values()), class_="stack")
    rows = [
        tag(
            "tr",
            tag("td", part),
            tag("td", f"{pictures:,}", class_="figure"),
            tag("td", f"{groups:,}", class_="figure"),
        )
        for part, (pictures, groups) in parts.items()
    ]
    head = tag("tr", tag("th", ""), tag("th", "pictures", class_="figure"), tag("th", "groups", class_="figure"))
    return tag(
        "section", heading, tag("div", stack, tag("table", head, *rows), rule, _groups(diagnosis), class_="panel")
    )


def _groups(diagnosis: Diagnosis) -> Html:
    """The groups by name, where there are any of more than one picture."""
    sizes = Counter(diagnosis.groups.of.values())
    if max(sizes.values()) == 1:
        return Html()
    part_of = {diagnosis.groups.of[name]: part for name, part in diagnosis.split.items()}
    listed = [
        tag("li", f"{group}: {counted(number, 'picture')}, {part_of[group]}")
        for group, number in list(sizes.items())[:MOST_LISTED]
    ]
    return tag("details", tag("summary", counted(len(sizes), "group")), tag("ul", *listed))


def _resolution(diagnosis: Diagnosis) -> Html:
    bound = diagnosis.bound()
    if not bound:
        return Html()
    most = max(0.01, *(1 - best for best in bound.values()))
    rows = [
        tag(
            "tr",
            tag("td", f"{side:,}{' (now)' if side == diagnosis.size else ''}", class_="figure"),
            tag("td", f"{best:.4f}", class_="figure"),
            tag("td", bar((1 - best) / most), class_="wide"),
        )
        for side, best in bound.items()
    ]
    head = tag("tr", tag("th", "--size", class_="figure"), tag("th", "best Dice", class_="figure"), tag("th", "lost"))
    said = "What a perfect model could reach on these masks, when it is trained at so many pixels on the longer side."
    return tag(
        "section",
        tag("h2", "What the training size costs"),
        tag("div", tag("table", head, *rows), tag("p", said, class_="soft"), class_="panel"),
    )


def _sheet(diagnosis: Diagnosis, previews: Mapping[str, str]) -> Html:
    """Pictures spread over the folder."""
    shown = set(shown_pictures(diagnosis)[:SPREAD])
    figures = []
    for picture in diagnosis.pictures:
        name = diagnosis.name_of(picture)
        if name in shown and name in previews:
            size = f"{picture.stored.width}×{picture.stored.height}"
            part = diagnosis.part_of(picture)
            figures.append(_figure(name, previews[name], f"{size}{f', {part}' if part else ''}"))
    number = f"{len(figures)} of {counted(len(diagnosis.pictures), 'picture')}"
    title = "All pictures" if len(figures) == len(diagnosis.pictures) else f"{number}, evenly spaced"
    return tag("section", tag("h2", title), tag("div", *figures, class_="sheet"))
