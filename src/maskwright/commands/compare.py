"""`maskwright evaluate --compare A B`: which of two evaluated models is better, and on which pictures."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright import terminal
from maskwright.errors import InputError
from maskwright.files import choose_new_folder, write_json

if TYPE_CHECKING:
    from maskwright.evaluation.compare import Comparison

MOST_DIFFERENT = 10


def compare(
    first: str | Path, second: str | Path, *, out: str | Path | None = None, as_json: bool = False
) -> "Comparison":
    """Compare what two evaluations left, picture by picture.

    Args:
        first: A, the folder that `evaluate` or `train` left, or its ``scores.json``.
        second: B, likewise.
        out: Folder for ``comparison.json``; by default a new one under ``runs/``.
        as_json: Print ``comparison.json`` instead of a table.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    from maskwright.evaluation.compare import compare_scores
    from maskwright.evaluation.evaluate import DEFINITIONS, scores_from_json

    contents = [_read_scores(Path(path)) for path in (first, second)]
    tolerances = {content.get("tolerance") for content in contents}
    if len(tolerances) > 1:
        raise InputError(f"{first} and {second} were scored with another --tolerance each; evaluate one of them again.")
    rows = [scores_from_json(content).pictures for content in contents]
    comparison = compare_scores(*rows)
    if not comparison.common:
        raise InputError(f"{first} and {second} have no picture in common; evaluate both models on the same folder.")
    folder = choose_new_folder(out, "compare")
    remarks = [f"{name}: {remark}" for name, of in zip("AB", contents, strict=True) for remark in of.get("remarks", ())]
    content = {"first": str(first), "second": str(second), "remarks": remarks, **comparison.to_json()}
    content["definitions"] = DEFINITIONS
    write_json(folder / "comparison.json", content)
    if as_json:
        terminal.say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _show(comparison, f"A = {first}, B = {second}")
    for remark in remarks:
        terminal.warn(remark)
    if not as_json:
        terminal.say(DEFINITIONS)
        terminal.say(f"All pictures: {folder / 'comparison.json'}")
    return comparison


def _read_scores(path: Path) -> dict[str, Any]:
    file = path / "scores.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = [row["name"] for row in content["pictures"]]
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}); name a folder that `maskwright evaluate` left."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{file} holds no scores; run `maskwright evaluate` for each model and name the folders that it leaves."
        ) from error
    if len(set(names)) < len(names):
        raise InputError(f"{file} scores a picture twice; evaluate the model again.")
    return dict(content)


def _show(comparison: "Comparison", title: str) -> None:
    from maskwright.evaluation.compare import verdict
    from maskwright.evaluation.evaluate import TITLES

    terminal.say(title)
    rows = []
    for measure, name in TITLES.items():
        gain = getattr(comparison, measure)
        rows.append((name, f"{gain.mean:+.4f}", gain.range_in_words(), verdict(measure, gain)))
    pictures = f"{comparison.common} pictures of {comparison.groups} groups that both scored"
    terminal.show_table(f"B - A on {pictures}", ("score", "mean", "95 % interval", "which"), rows)
    differences = [
        (picture.name, f"{picture.first:.4f}", f"{picture.second:.4f}", f"{picture.gain:+.4f}")
        for picture in comparison.pictures[:MOST_DIFFERENT]
    ]
    terminal.show_table("Where they differ most", ("picture", "Dice of A", "Dice of B", "B - A"), differences)
    if comparison.only_first or comparison.only_second:
        terminal.say(
            f"Left aside: {comparison.only_first} pictures that only A scored, {comparison.only_second} only B."
        )
