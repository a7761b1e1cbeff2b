"""What comes after the last step: planned and measured before the first, kept by the clock when it is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from maskwright.evaluation.evaluate import Scores, count_pairs, summarise
from maskwright.evaluation.machine import Effort, machine_here
from maskwright.evaluation.pages.gallery import Gallery, hung_together
from maskwright.inference.predictor import Predictor
from maskwright.training import ranks
from maskwright.training.material import scored_part
from maskwright.training.measuring import measure_costs
from maskwright.training.minutes import Closing, drawn, in_time, plan_closing
from maskwright.training.session import Session


@dataclass(frozen=True)
class Scored:
    """What scoring leaves: the figures, some of the pictures, and what it took."""

    scores: Scores
    gallery: Gallery
    effort: Effort


def choose_closing(session: Session) -> Closing:
    """Decide what is validated and scored, and with minutes how long that will take."""
    material, settings = session.material, session.settings
    part = scored_part(material, folds=settings.folds is not None)
    available, held_out = len(material.indices(part)), len(material.indices("val"))
    if session.minutes is None:
        return Closing(part, scored=available, available=available, validated=held_out)
    return plan_closing(
        measure_costs(session, part).shared_by(ranks.size()),
        60 * (settings.minutes or 0.0),  # of all of it: what a resumed run has left is less
        part=part,
        available=available,
        held_out=held_out,
        validated=session.learner.position.validated,
    )


def score(
    predictor: Predictor, session: Session, closing: Closing, *, must_fit: bool = False, advance: Callable[[], None]
) -> Scored:
    """Score the pictures that were planned, or with minutes as many of them as there is time for after all.

    Each rank scores every n-th; what comes of it is that of one that scores all. For ``must_fit`` see `count_pairs`.
    """
    started = time.monotonic()
    # Drawn even where all are planned: should the clock end it early, what was scored is a fair sample.
    pairs = drawn(session.material.pairs(closing.part), closing.scored, session.settings.seed)[ranks.every_nth()]
    in_the_minutes = pairs if session.minutes is None else in_time(pairs, session.minutes.left)
    gallery = Gallery(session.material.formats.labels)
    groups = session.material.groups.of
    counted = list(
        count_pairs(predictor, in_the_minutes, groups, must_fit=must_fit, look=gallery.look, advance=advance)
    )
    found = ranks.gathered((counted, gallery))
    in_order = ranks.in_order([counted for counted, _ in found])
    scores = summarise(in_order, predictor.card, is_validation=lambda _: closing.part == "val")
    effort = Effort(time.monotonic() - started, None, machine_here(predictor.engine_name))
    return Scored(scores, hung_together([gallery for _, gallery in found]), effort)
