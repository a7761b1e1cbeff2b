"""What a run is told of its health: the checks before it, and how findings are said."""

import dataclasses

from torch.utils.data import DataLoader

from maskwright import terminal
from maskwright.config import write_settings
from maskwright.data.dataset import Batch, EpochBatches, Samples
from maskwright.errors import DoesNotFitError, is_out_of_memory
from maskwright.training.balance import choose_weights
from maskwright.training.curves import draw_rates
from maskwright.training.health import Finding, mistrusted, shrunk
from maskwright.training.overfit import (
    LEAST_STEPS,
    SIDES,
    STEPS,
    Overfit,
    choose_pictures,
    cut_out,
    find_no_overfit,
    learn_by_heart,
    seconds_for,
)
from maskwright.training.precision import find_fault
from maskwright.training.rate_search import choose_rate, search_rates
from maskwright.training.session import Session
from maskwright.training.state import fall_back_to_fp32


def tell(finding: Finding) -> None:
    """Say a finding."""
    (terminal.warn if finding.is_warning else terminal.say)(finding.sentence)


def check_precision(session: Session, train: DataLoader[Batch]) -> None:
    """See whether 16 bit is sound on the first batch, and compute in fp32 where it is not."""
    learner = session.learner
    if learner.precision == "fp32":
        return
    batch = next(iter(train)).to(session.device)
    class_weights = choose_weights(session.material, session.settings)
    findings, position = [], learner.position
    before = position.micro_batch, position.storage
    fault = find_fault(learner, batch, session.settings, class_weights=class_weights)
    if fault is not None:
        findings.append(mistrusted(learner.precision, fault))
        fall_back_to_fp32(learner)
    if (position.micro_batch, position.storage) != before:
        seen = f"The memory of {session.device} ran out"
        findings.append(shrunk(len(batch.images), position.micro_batch, seen, position.storage))
    for finding in findings:
        learner.health.note_finding(finding, epoch=learner.position.epoch, step=learner.position.step)
        tell(finding)


def check_overfit(session: Session) -> None:
    """See whether the network can learn a handful of cut-outs by heart, and say so where it cannot."""
    health, settings = session.learner.health, session.settings
    try:
        overfit = _learn_cut_outs(session)
    except (DoesNotFitError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        terminal.warn("There is too little memory for the check before the run; it is left out.")
        return
    health.overfit = overfit.to_json()
    names = [session.material.cache.pairs[index].name for index in overfit.pictures]
    finding = find_no_overfit(overfit, settings, names, precision=session.learner.precision)
    if finding is not None:
        health.note_finding(finding, epoch=0, step=0)
        tell(finding)


def _learn_cut_outs(session: Session) -> Overfit:
    """The check at the largest size that there is time for."""
    cache, settings = session.material.cache, session.settings
    train = session.material.indices("train")
    pictures = choose_pictures(cache.foreground, train, seed=settings.seed)
    samples = Samples(cache, settings, augment=False)
    pixels = sum(cache.shapes[index][0] * cache.shapes[index][1] for index in train)
    session.learner.begin_to_learn()
    with terminal.progressing("Checking that it learns") as update:
        for side in SIDES:
            batch = cut_out(samples, pictures, side)
            overfit = learn_by_heart(
                session.learner.network,
                batch,
                settings,
                precision=session.learner.precision,
                scored_classes=session.material.formats.labels.scored_classes,
                afford=seconds_for(settings, batch, pixels=pixels),
                show=lambda step: update(step / STEPS, f"step {step}"),
                pictures=pictures,
            )
            finding = find_no_overfit(overfit, settings, [], precision=session.learner.precision)
            if len(overfit.losses) >= LEAST_STEPS or finding or overfit.is_learnt:
                break
    return overfit


def search_rate(session: Session, train: DataLoader[Batch], order: EpochBatches) -> Session:
    """Search a learning rate, say and draw what was found, and write it into the run's settings.

    Returns:
        The session with the rate that it is to use.
    """
    settings, folder = session.settings, session.folder
    try:
        with terminal.progressing("Searching a learning rate") as update:
            search = search_rates(
                session.learner,
                train,
                order,
                settings,
                class_weights=choose_weights(session.material, settings),
                device=session.device,
                show=lambda share: update(share, ""),
            )
    except (DoesNotFitError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        terminal.warn(f"There is too little memory to search a learning rate; it stays at {settings.learning_rate:g}.")
        return session
    if not search.rates:
        terminal.warn(f"The minutes leave no time to search a learning rate; it stays at {settings.learning_rate:g}.")
        return session
    choice = choose_rate(search)
    draw_rates(search.rates, search.losses, choice, folder.rates)
    if choice is None:
        terminal.warn(
            f"The loss fell at none of {len(search.rates)} learning rates (see {folder.rates}); it stays at "
            f"{settings.learning_rate:g}."
        )
        return session
    up_to = "it never diverged" if choice.diverged is None else f"it diverged at {choice.diverged:.2g}"
    terminal.say(
        f"Learning rate: {choice.rate:.2g} (of {len(search.rates)} rates the loss fell fastest at "
        f"{choice.steepest:.2g}; {up_to})"
    )
    settings = dataclasses.replace(settings, learning_rate=choice.rate)
    write_settings(folder.config, settings, started_from=session.start.noted() if session.start else None)
    return dataclasses.replace(session, settings=settings)
