"""What is kept of a run: model files that say what they are, and the scores beside them."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from maskwright.device import read_facts
from maskwright.evaluation.evaluate import Scores
from maskwright.evaluation.machine import Effort, machine_here
from maskwright.files import write_json
from maskwright.inference.model_file import ModelCard, load_model, save_model, versions_here
from maskwright.training.figures import Figures
from maskwright.training.machine_memory import peak_memory
from maskwright.training.minutes import Closing
from maskwright.training.session import Session, architecture_for
from maskwright.training.starting_point import with_those_of
from maskwright.training.state import Learner


def keep_best(session: Session, figures: Figures, weights: Mapping[str, Tensor]) -> None:
    """Write the weights that a validation found to be the best so far."""
    metrics = {"val_dice_at_training_size": figures.dice, "val_loss": figures.loss}
    save_model(session.folder.model, model_card(session, metrics), _as_arrays(weights))


def keep_best_again(session: Session) -> None:
    """Write the best weights where a run may have been killed between its state and them."""
    learner = session.learner
    if not learner.position.is_best:
        return
    line = json.loads(learner.lines[-1])
    figures = Figures(line.get("val_loss", math.nan), line.get("val_dice", math.nan), math.nan)
    keep_best(session, figures, learner.kept().state_dict())


def keep_last(session: Session) -> None:
    """Write the weights at the end of the run."""
    save_model(session.folder.last, model_card(session, {}), weights_of(session.learner))


def keep_effort(session: Session) -> None:
    """Write what learning took, and on which machine; of a run that was resumed, the memory since then."""
    computed_by = f"PyTorch on {read_facts(session.device).name or session.device} in {session.learner.precision}"
    effort = Effort(session.learner.position.seconds, peak_memory(session.device), machine_here(computed_by))
    write_json(session.folder.machine, dataclasses.asdict(effort))


def keep_scores(session: Session, scores: Scores, closing: Closing, *, leaks: Sequence[str]) -> None:
    """Write the scores into the model and beside it; of how many pictures, where there were more.

    With the file beside it a run is finished, so that comes last.

    Args:
        session: Of the run.
        scores: Of its best weights.
        closing: What was scored.
        leaks: What another training saw of these pictures.
    """
    card, weights = load_model(session.folder.model)
    metrics = {**card.metrics, "dice": scores.dice.mean, "iou": scores.iou.mean}
    save_model(session.folder.model, dataclasses.replace(card, metrics=metrics), weights)
    counts = {"part": closing.part, "scored": len(scores.pictures), "available": closing.available}
    validated = {"validated_on": closing.validated}
    remarks = {"remarks": list(leaks)}
    write_json(session.folder.scores, {**counts, **validated, **remarks, **scores.to_json()})


def weights_of(learner: Learner) -> dict[str, NDArray[Any]]:
    """The weights worth keeping, as arrays."""
    return _as_arrays(learner.kept().state_dict())


def _as_arrays(weights: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.cpu().numpy() for name, tensor in weights.items()}


def model_card(session: Session, metrics: dict[str, float]) -> ModelCard:
    """What the model file says of itself."""
    return ModelCard(
        architecture=architecture_for(session.settings, session.material.formats),
        size=session.settings.size,
        factor=session.settings.factor,
        tile=session.settings.crop,
        labels=session.material.formats.labels,
        input=session.material.formats.input,
        metrics=metrics,
        **with_those_of(session.start, **session.material.seen_in_training()),
        group=session.material.groups.pattern,
        parent=session.start.parent if session.start else None,
        settings={name: value for name, value in dataclasses.asdict(session.settings).items() if value is not None},
        versions=versions_here(),
    )
