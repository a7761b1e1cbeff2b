"""What is kept of a run: model files that say what they are, and the scores beside them."""

import dataclasses
from typing import Any

from numpy.typing import NDArray

from maskwright.evaluation.evaluate import Scores
from maskwright.files import write_json
from maskwright.inference.model_file import ModelCard, load_model, save_model, versions_here
from maskwright.training.figures import Figures
from maskwright.training.minutes import Closing
from maskwright.training.session import Session, architecture_for
from maskwright.training.starting_point import with_those_of
from maskwright.training.state import Learner


def keep_best(session: Session, figures: Figures) -> None:
    """Write the weights that a validation found to be the best so far."""
    metrics = {"val_dice_at_training_size": figures.dice, "val_loss": figures.loss}
    save_model(session.folder.model, model_card(session, metrics), weights_of(session.learner))


def keep_last(session: Session) -> None:
    """Write the weights at the end of the run."""
    save_model(session.folder.last, model_card(session, {}), weights_of(session.learner))


def keep_scores(session: Session, scores: Scores, closing: Closing) -> None:
    """Write the scores, beside the model and into it; of how many pictures, where there were more."""
    counts = {"part": closing.part, "scored": len(scores.pictures), "available": closing.available}
    validated = {"validated_on": closing.validated}
    write_json(session.folder.scores, {**counts, **validated, **scores.to_json()})
    card, weights = load_model(session.folder.model)
    metrics = {**card.metrics, "dice": scores.dice.mean, "iou": scores.iou.mean}
    save_model(session.folder.model, dataclasses.replace(card, metrics=metrics), weights)


def weights_of(learner: Learner) -> dict[str, NDArray[Any]]:
    """The weights worth keeping, as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in learner.kept().state_dict().items()}


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
        **with_those_of(session.start, session.material.fingerprints("train"), session.material.fingerprints("val")),
        group=session.material.groups.pattern,
        parent=session.start.parent if session.start else None,
        settings={name: value for name, value in dataclasses.asdict(session.settings).items() if value is not None},
        versions=versions_here(),
    )
