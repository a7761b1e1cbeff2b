"""A model card in the convention of Hugging Face: a head of YAML that machines read, then text for people.

Names of pictures, of their folders and of the machine stay out of it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maskwright.config import Settings
from maskwright.evaluation.evaluate import is_leak, remarks_on
from maskwright.inference.model_file import ModelCard
from maskwright.inference.tiling import largest_at_once
from maskwright.training.run_folder import MACHINE_SETTINGS

# What the files are called that lie beside the card.
MODEL, ONNX = "model.safetensors", "model.onnx"
# Settings that say nothing of how a model came about, or hold paths of the machine it was trained on.
NOT_IN_RECIPE = (*MACHINE_SETTINGS, "encoder_weights", "split", "classes", "group")


def render_card(card: ModelCard, *, name: str, scores: Mapping[str, Any] | None = None, has_onnx: bool = False) -> str:
    """The model card.

    Args:
        card: What the model file says of itself.
        name: Of the model.
        scores: What a scores.json holds, where there is one.
        has_onnx: Whether its ONNX form lies beside.
    """
    parts = [
        _head(card, name, scores),
        f"# {name}",
        _what_it_is(card),
        "## How to use it",
        _how_to_use(card, has_onnx=has_onnx),
        "## Scores",
        _scores(card, scores),
        "## What it has learnt from",
        _learnt_from(card),
        "## Recipe",
        _recipe(card),
        "## Limits",
        _limits(card, scores),
        "## Licence",
        "Not chosen yet: the weights belong to whoever trained them. Choose one and write it into the first lines of "
        "this file and here.",
        "## Versions",
        ", ".join(f"{package} {version}" for package, version in card.versions.items()) or "Not known.",
    ]
    return "\n\n".join(parts) + "\n"


def note_on_tiles(card: ModelCard) -> str | None:
    """What an exported file does without maskwright that it does not do with it; None where there is no difference."""
    most = largest_at_once(card)
    if most is None:
        return None
    return (
        "Used without maskwright, the file sees every picture whole; maskwright cuts those into tiles that have more "
        f"than {most} pixels a side at the size that the model sees, and their masks may differ."
    )


def data_fingerprint(fingerprints: Iterable[str]) -> str:
    """One hash of the fingerprints of pictures, in any order."""
    return hashlib.sha256("\n".join(sorted(fingerprints)).encode()).hexdigest()[:16]


def _head(card: ModelCard, name: str, scores: Mapping[str, Any] | None) -> str:
    """What machines read. JSON's strings and numbers are YAML's."""
    lines = [
        "---",
        "# license: none has been chosen; replace this line by one such as license: cc-by-4.0 before you publish",
        "library_name: maskwright",
        "pipeline_tag: image-segmentation",
        "tags:",
        *(f"- {json.dumps(tag, ensure_ascii=False)}" for tag in _tags(card)),
    ]
    measured = _measured(scores) if scores else []
    if measured:
        lines += [
            "metrics:",
            *(f"- {kind}" for kind, _, _ in measured),
            "model-index:",
            f"- name: {json.dumps(name, ensure_ascii=False)}",
            "  results:",
            "  - task:",
            "      type: image-segmentation",
            "    dataset:",
            "      name: Photographs and masks of the user's own",
            "      type: private",
            "    metrics:",
        ]
        for kind, title, interval in measured:
            lines += [
                f"    - type: {kind}",
                f"      name: {json.dumps(f'{title} ({_range(interval)})')}",
                f"      value: {json.dumps(interval['mean'])}",
            ]
    return "\n".join([*lines, "---"])


def _tags(card: ModelCard) -> list[str]:
    encoder = [] if card.architecture.encoder == "none" else [card.architecture.encoder]
    return ["maskwright", "semantic-segmentation", "unet", *encoder]


def _measured(scores: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """The scores that exist: where nothing was there to be found, there are none."""
    kinds = [("dice", "Dice per picture"), ("iou", "IoU per picture")]
    return [(kind, title, scores[kind]) for kind, title in kinds if scores[kind]["mean"] is not None]


def _range(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return "a single group: no interval"
    return f"95 % interval {interval['low']:.4f} to {interval['high']:.4f}"


def _what_it_is(card: ModelCard) -> str:
    architecture = card.architecture
    network = "The classic U-Net" if architecture.encoder == "none" else f"A U-Net on `{architecture.encoder}`"
    if card.is_imported:
        network = f"A network imported from {card.settings.get('imported_from', 'elsewhere')}"
    decides = (
        f"a pixel is {card.class_names[1]} from a probability of {card.threshold:g} on"
        if architecture.num_classes <= 2  # an imported network may have two logits for two classes
        else "a pixel is of the class with the highest probability"
    )
    return (
        f"{network} that says of each pixel of a picture which of {len(card.class_names)} classes it belongs to: "
        f"{', '.join(card.class_names)}. Pictures of {_channels(card)} go in at any size; inside, they "
        f"have {_resized(card)}; the mask comes out at the picture's own size, and {decides}."
    )


def _channels(card: ModelCard) -> str:
    return "1 channel" if card.input.channels == 1 else f"{card.input.channels} channels"


def _resized(card: ModelCard) -> str:
    if card.factor is not None:
        return f"{card.factor:g} of their own size"
    return f"a longer side of {card.size} pixels"


def _how_to_use(card: ModelCard, *, has_onnx: bool) -> str:
    code = [
        "```python",
        "import maskwright as mw",
        "",
        f'predictor = mw.load("{MODEL}")',
        f"mask = predictor(image)  # (H, W, {card.input.channels}) in, classes (H, W) at the same size out",
        "```",
        "",
        f"Or `maskwright predict {MODEL} pictures/` on the command line.",
    ]
    if has_onnx:
        sentences = [f"`{ONNX}` is the same model for ONNX Runtime, which needs no torch.", note_on_tiles(card) or ""]
        code.append(" ".join(sentences).strip())
    return "\n".join(code)


def _scores(card: ModelCard, scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "None are known: no scores.json lay beside the model. `maskwright evaluate` makes one."
    remarks = remarks_on(scores)
    # A model that started from another may have got pictures from there that no scores.json tells of.
    is_unseen = not card.parent and not any(map(is_leak, remarks))
    count = f"{len(scores['pictures'])} {'unseen ' if is_unseen else ''}pictures of {scores['groups']} groups"
    rows = [(title, f"{interval['mean']:.4f}", _range(interval)) for _, title, interval in _measured(scores)]
    classes = [
        (entry["name"], _figure(entry["dice"]["mean"]), _figure(entry["iou"]["mean"]), str(entry["pictures"]))
        for entry in scores.get("classes", ())
    ]
    parts = [
        f"On {count}, each at its own size. A group is pictures that belong together, such as those of one car.",
        _table(("score", "mean", "range"), rows) if rows else "Neither masks nor predictions had anything to score.",
    ]
    if len(classes) > 1:
        parts.append(_table(("class", "Dice", "IoU", "pictures that have it"), classes))
    parts += [f"- {remark}" for remark in remarks]
    parts.append(str(scores.get("definitions", "")))
    return "\n\n".join(part for part in parts if part)


def _learnt_from(card: ModelCard) -> str:
    if card.is_imported:
        return "Not known: it was trained elsewhere, and the file that it was imported from does not say on what."
    lines = [
        f"- {len(card.trained_on)} pictures; fingerprint of the set: `{data_fingerprint(card.trained_on)}`",
        f"- {len(card.chosen_on)} more that the best weights were chosen on: `{data_fingerprint(card.chosen_on)}`",
    ]
    if card.parent:
        lines.append(f"- it started from another model, `{card.parent.fingerprint}`, whose pictures are among these")
    return (
        "\n".join(lines) + "\n\nThe model file holds a fingerprint of each picture, from which no picture can be made; "
        "by these `maskwright evaluate` leaves out what was learnt from."
    )


def _recipe(card: ModelCard) -> str:
    if card.is_imported:
        return "Not known."
    usual = dataclasses.asdict(Settings())
    rows = [
        (f"`{name}`", f"`{value}`")
        for name, value in card.settings.items()
        if name not in NOT_IN_RECIPE and value != usual.get(name)
    ]
    return _table(("setting", "value"), rows) + "\n\nEverything else as it is without a preset."


def _limits(card: ModelCard, scores: Mapping[str, Any] | None) -> str:
    lines = [
        "- It knows the classes above and nothing else, and gives every picture an answer.",
        "- Nothing is known of pictures of another kind than those it was scored on."
        if scores
        else "- Nothing is known of how good it is.",
        f"- What is thinner than a pixel of pictures that have {_resized(card)} may be lost.",
        "- Its probabilities have not been calibrated.",
    ]
    if scores and scores["dice"]["low"] is None:
        lines.append("- All scored pictures are of one group, so nobody can say how far the scores vary.")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
