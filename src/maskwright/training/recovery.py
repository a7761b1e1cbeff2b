"""Going back to earlier weights: at half the learning rate where the loss diverged, in fp32 where 16 bit fails."""

import torch

from maskwright.training.state import Learner, copied

MOST_RECOVERIES = 2


def remember_good(learner: Learner) -> None:
    """Copy the weights worth keeping to main memory, where they take nothing from the network's own."""
    learner.good = copied(learner.kept())


def can_go_back(learner: Learner) -> bool:
    """Whether there are sound weights to go back to, from which something was learnt that could be learnt slower."""
    return learner.position.step > 0 and learner.health.recoveries < MOST_RECOVERIES and has_sound_weights(learner)


def has_sound_weights(learner: Learner) -> bool:
    """Whether weights were remembered, and all of them are numbers."""
    return learner.good is not None and all(bool(torch.isfinite(tensor).all()) for tensor in learner.good.values())


def go_back(learner: Learner, *, slower: bool = True) -> None:
    """Take the weights that were remembered, forget what the optimizer gathered since, and halve the learning rate.

    Neither the position nor the schedule goes back: the run has the length that was asked for. Where the rate is not to
    blame it is not made ``slower``.
    """
    assert learner.good is not None  # noqa: S101 - `can_go_back` said so
    learner.network.load_state_dict(learner.good)
    if learner.average is not None:
        learner.average.module.load_state_dict(learner.good)
    learner.optimizer.state.clear()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.beginning = None
    learner.health.forget_trend()
    if slower:
        learner.position.rate_factor /= 2
        learner.health.recoveries += 1
