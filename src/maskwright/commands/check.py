"""`maskwright check`: what is in a folder of photographs and masks, and what is wrong with it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.config import SMALLEST_SIDE, MaskSettings, Settings
from maskwright.errors import InputError
from maskwright.files import choose_new_folder, write_json

if TYPE_CHECKING:
    from maskwright.data.report import Diagnosis, Finding

NOTHING_SAID = MaskSettings()
# Files of a finding that are named on the terminal.
MOST_NAMED = 4
# What masks are judged at where no size is named; `train` looks at the masks and the minutes to choose one.
USUAL_SIZE = 384


def check(
    photos: str | Path,
    *,
    masks: MaskSettings = NOTHING_SAID,
    group: str | None = None,
    size: int | None = None,
    out: str | Path | None = None,
    fix: str | Path | None = None,
    as_json: bool = False,
) -> "Diagnosis":
    """Say what is in a folder, and what is wrong with it.

    Args:
        photos: Folder of photographs and masks, or its manifest or annotation file.
        masks: What the masks' values mean, where that is not to be found out.
        group: Regular expression that finds a picture's group in its name.
        size: Longer side of training, which the resolution bound is judged at; by default 384 pixels.
        out: Folder for ``check.html`` and ``check.json``; by default a new one under ``runs/``.
        fix: New folder for a clean copy.
        as_json: Print ``check.json`` instead of a report.

    Raises:
        InputError: Nothing can be checked, or an option does not fit; the sentence says what.
    """
    from maskwright.data.doctor import diagnose
    from maskwright.data.examination import examine
    from maskwright.data.finding import find_dataset
    from maskwright.data.fixing import check_target
    from maskwright.data.label_survey import read_options
    from maskwright.data.reading import choose_formats
    from maskwright.evaluation.pages.contact_sheet import shown_pictures, write_contact_sheet

    photos = Path(photos)
    size = USUAL_SIZE if size is None else size
    if size < SMALLEST_SIDE:  # what is accepted here, `train` accepts
        raise InputError(f"--size must be at least {SMALLEST_SIDE} pixels.")
    folder = choose_new_folder(out, f"check-{photos.resolve().stem}")
    if fix is not None:
        check_target(Path(fix), photos)
    pairing = find_dataset(photos)
    pairs = pairing.pairs
    if not pairs and not pairing.problems:
        raise InputError(f"{photos} holds no image with a mask of its own.")
    with terminal.counting("Looking at masks", len(pairs)) as advance:
        formats, decision = choose_formats(pairs, read_options(masks, pairing.classes), advance=advance)
    with terminal.counting("Checking", len(pairs)) as advance:
        examined = examine(pairs, formats, size=size, advance=advance)
    where = photos if photos.is_dir() else photos.parent
    diagnosis = diagnose(
        where, pairing, formats, decision, examined, pattern=group, size=size, val_share=Settings().val_share
    )
    content = diagnosis.to_json()
    write_json(folder / "check.json", content)
    with terminal.counting("Drawing", len(shown_pictures(diagnosis))) as advance:
        write_contact_sheet(folder / "check.html", diagnosis, advance=advance)
    if as_json:
        terminal.say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _show(diagnosis)
    if fix is not None:
        _fix(diagnosis, Path(fix), as_json=as_json)
    if not as_json:
        terminal.say(f"The pictures to this: {folder / 'check.html'}")
    return diagnosis


def _fix(diagnosis: "Diagnosis", out: Path, *, as_json: bool) -> None:
    from maskwright.data.fixing import write_clean_copy
    from maskwright.inference.outputs import class_colours

    question = next((finding for finding in diagnosis.findings if finding.level == "question"), None)
    if question:
        raise InputError(f"--fix waits for an answer, so that nothing is settled by a guess. {question.sentence}")
    if not diagnosis.pictures:
        raise InputError(f"--fix has nothing to copy: no picture of {diagnosis.folder} can be used.")
    with terminal.counting("Copying", len(diagnosis.pictures)) as advance:
        changes = write_clean_copy(diagnosis, out, colours=class_colours(diagnosis.formats.labels), advance=advance)
    kept = sum("became" in change for change in changes)
    if not as_json:
        left = f", {len(changes) - kept} left out" if kept < len(changes) else ""
        terminal.say(f"A clean copy of {kept} pictures{left}: {out} (changes.json says what happened to each)")


def _show(diagnosis: "Diagnosis") -> None:
    terminal.say(f"{diagnosis.folder}: {len(diagnosis.pictures)} pictures with masks ({diagnosis.layout})")
    for finding in diagnosis.findings:
        _show_finding(finding)
    if not diagnosis.pictures:
        return
    terminal.say("")
    rows = [(some.name, f"{some.share:.2%}", str(some.pictures)) for some in diagnosis.classes()]
    terminal.show_table("Classes", ("class", "pixels", "pictures"), rows)
    rows = [(part, str(pictures), str(groups)) for part, (pictures, groups) in diagnosis.parts().items()]
    terminal.show_table(f"Split: {diagnosis.groups.rule}", ("part", "pictures", "groups"), rows)
    bounds = [(f"--size {side}", f"{best:.4f}") for side, best in diagnosis.bound().items()]
    if bounds:
        terminal.show_table("The best Dice that these masks allow", ("longer side", "Dice"), bounds)


def _show_finding(finding: "Finding") -> None:
    terminal.say(f"\n{finding.level.upper()}  {finding.sentence}")
    if finding.level != "note":  # where nothing is to be done, the page and the JSON name the files
        for name, sentence in list(finding.files.items())[:MOST_NAMED]:
            terminal.say(f"    {name}{f': {sentence}' if sentence else ''}")
        if len(finding.files) > MOST_NAMED:
            terminal.say(f"    and {len(finding.files) - MOST_NAMED} more")
    if finding.remedy:
        terminal.say(f"  {finding.remedy}")
