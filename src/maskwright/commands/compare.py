"""`maskwright evaluate --compare A B`: which of two evaluated models is better, and on which pictures."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright import terminal
from maskwright.config import MASKS_AS_TRAINED, MaskSettings
from maskwright.errors import InputError
from maskwright.files import choose_new_folder, write_json

if TYPE_CHECKING:
    from maskwright.data.labels import LabelMap
    from maskwright.evaluation.compare import Comparison
    from maskwright.evaluation.evaluate import Compared
    from maskwright.evaluation.pages.gallery import Exhibit

MOST_DIFFERENT = 10
# Pictures on the page.
MOST_SHOWN = 6


def compare(
    first: str | Path,
    second: str | Path,
    *,
    out: str | Path | None = None,
    as_json: bool = False,
    device: str = "auto",
) -> "Comparison":
    """Compare what two evaluations left, picture by picture.

    Args:
        first: A, the folder that `evaluate` or `train` left, with its folds too, or its ``scores.json``.
        second: B, likewise.
        out: Folder for ``report.html`` and ``comparison.json``; by default a new one under ``runs/``.
        as_json: Print ``comparison.json`` instead of a table.
        device: Where the pictures that the report shows are predicted once more.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    from maskwright.evaluation.compare import DEFINITIONS_OF_TWO, TOO_FEW_GROUPS, compare_scores, lacks_groups
    from maskwright.evaluation.evaluate import remarks_on, scores_from_json

    contents = [_read_scores(Path(path)) for path in (first, second)]
    tolerances = {content.get("tolerance") for content in contents}
    if len(tolerances) > 1:
        raise InputError(f"{first} and {second} were scored with another --tolerance each; evaluate one of them again.")
    rows = [scores_from_json(content).pictures for content in contents]
    comparison = compare_scores(*rows)
    about_pictures = _remarks_on_pictures((Path(first), Path(second)), contents, comparison)
    if not comparison.common:
        why = f" ({about_pictures[0].rstrip('.')})" if comparison.namesakes else ""
        raise InputError(
            f"{first} and {second} have no picture in common{why}; evaluate both models on the same folder."
        )
    folder = choose_new_folder(out, "compare")
    remarks = [f"{name}: {remark}" for name, of in zip("AB", contents, strict=True) for remark in remarks_on(of)]
    remarks += about_pictures
    if lacks_groups(comparison):
        remarks.append(TOO_FEW_GROUPS)
    content = {"first": str(first), "second": str(second), "remarks": remarks, **comparison.to_json()}
    content["definitions"] = DEFINITIONS_OF_TWO
    write_json(folder / "comparison.json", content)
    _write_page(folder / "report.html", comparison, (Path(first), Path(second)), contents, remarks, device=device)
    if as_json:
        terminal.say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _show(comparison, f"A = {first}, B = {second}")
    for remark in remarks:
        terminal.warn(remark)
    if not as_json:
        terminal.say(DEFINITIONS_OF_TWO)
        terminal.say(f"All pictures: {folder / 'comparison.json'}")
        terminal.say(f"Report: {folder / 'report.html'}")
    return comparison


def _remarks_on_pictures(
    paths: Sequence[Path], contents: Sequence[Mapping[str, Any]], comparison: "Comparison"
) -> list[str]:
    """What a reader must know of the pictures that were compared, where they may not be the same ones."""
    photos = [_photos_of(path, content) for path, content in zip(paths, contents, strict=True)]
    first, second = (of or path for of, path in zip(photos, paths, strict=True))
    remarks = []
    if comparison.namesakes:
        remarks.append(
            f"{comparison.namesakes} pictures have the same names in {first} and {second} and are other files, "
            "which are not compared."
        )
    are_known = all(row.get("fingerprint") for content in contents for row in content["pictures"])
    if not are_known and len({of.resolve() for of in photos if of}) > 1:
        remarks.append(
            f"A scored pictures of {first}, B of {second}. They were paired by their names alone, since scores of "
            "earlier versions do not say which pictures these were; evaluate both models again to be sure."
        )
    settings = [MaskSettings(**content["masks"]) for content in contents if "masks" in content]
    if len(settings) == 2 and settings[0] != settings[1]:
        remarks.append(
            f"A and B were scored with masks that were read in different ways: {_in_words(settings[0])} for A, "
            f"{_in_words(settings[1])} for B."
        )
    return remarks


def _in_words(masks: MaskSettings) -> str:
    """How masks were read, as options of `evaluate`."""
    given = {name: value for name, value in asdict(masks).items() if value is not None}
    return " ".join(f"--{name} {value}" for name, value in given.items()) or "as in training"


def _photos_of(path: Path, content: Mapping[str, Any]) -> Path | None:
    """The folder of the pictures that were scored; None where nothing tells."""
    if "photos" in content:
        return Path(content["photos"])
    from maskwright.training.run_folder import fold_folder

    folder = path if path.is_dir() else path.parent
    for run in (folder, fold_folder(folder, 0).path):
        with suppress(OSError, ValueError, LookupError, TypeError):
            return Path(json.loads((run / "split.json").read_text(encoding="utf-8"))["photos"])
    return None


def _write_page(
    page: Path,
    comparison: "Comparison",
    paths: tuple[Path, Path],
    contents: Sequence[Mapping[str, Any]],
    remarks: Sequence[str],
    *,
    device: str,
) -> None:
    """Write the page, with the pictures where both differ most if pictures and models are still there."""
    from maskwright.evaluation.pages.comparison import Versus, write_comparison
    from maskwright.evaluation.pages.gallery import draw_two

    exhibits: list[Exhibit] = []
    labels: LabelMap | None = None
    missing = ""
    names = [picture.name for picture in comparison.pictures[:MOST_SHOWN]]
    try:
        with terminal.counting("Drawing", 2 * len(names)) as advance:
            seen = [
                _predict(path, content, names, device=device, advance=advance)
                for path, content in zip(paths, contents, strict=True)
            ]
    except InputError as error:
        missing = f"No pictures are shown: {error}"
        terminal.warn(missing)
    else:
        (first, labels), (second, _) = seen
        exhibits = [draw_two(first[name], second[name], labels) for name in names if name in first and name in second]
    versus = Versus(
        first=str(paths[0]),
        second=str(paths[1]),
        comparison=comparison,
        exhibits=exhibits,
        labels=labels,
        remarks=remarks,
        missing=missing,
    )
    write_comparison(page, versus)


def _predict(
    path: Path, content: Mapping[str, Any], names: Sequence[str], *, device: str, advance: Callable[[], None]
) -> "tuple[dict[str, Compared], LabelMap]":
    """Some pictures of an evaluation, predicted once more by its model, and the classes of the model.

    Raises:
        InputError: The model or the pictures are not there any more, or something that they need is not installed.
    """
    from maskwright.data.finding import find_dataset
    from maskwright.evaluation.evaluate import formats_for_model, score_pair
    from maskwright.inference.predictor import load

    model, photos = _sources(path, content)
    if not photos.exists():
        raise InputError(f"the folder of the pictures, {photos}, is not there.")
    predictor, pairing = load(model, device=device), find_dataset(photos)
    masks = MaskSettings(**content["masks"]) if "masks" in content else MASKS_AS_TRAINED
    formats = formats_for_model(pairing, predictor.card, masks)
    pairs = {pair.name: pair for pair in pairing.pairs}
    seen = {}
    for name in names:
        if name in pairs:
            seen[name] = score_pair(predictor, pairs[name], "", formats, content.get("tolerance"))
        advance()
    return seen, predictor.card.labels


def _sources(path: Path, content: Mapping[str, Any]) -> tuple[Path, Path]:
    """The model and the pictures of an evaluation; of a run, its own."""
    if "folds" in content:
        raise InputError(f"{path} is a cross-validation, in which each fold has a model of its own.")
    folder, photos = path if path.is_dir() else path.parent, _photos_of(path, content)
    if photos is None:
        raise InputError(f"{folder} does not say which pictures were scored.")
    return Path(content["model"]) if "model" in content else folder / "model.safetensors", photos


def _read_scores(path: Path) -> dict[str, Any]:
    from maskwright.evaluation.evaluate import scores_from_json

    file = path / "scores.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = [row.name for row in scores_from_json(content).pictures]
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}); name a folder that `maskwright evaluate` left."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
        mean = "–" if math.isnan(gain.mean) else f"{gain.mean:+.4f}"
        which = verdict(measure, gain, comparison.groups_of[measure])
        rows.append((name, mean, gain.range_in_words(), which))
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
