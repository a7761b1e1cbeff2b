"""Going back to earlier weights when the loss diverged, with half the learning rate."""

import torch

from maskwright.training.state import Learner, copied

MOST_RECOVERIES = 2


def remember_good(learner: Learner) -> None:
    """Copy the weights worth keeping to main memory, where they take nothing from the network's own."""
    learner.good = copied(learner.kept())


def can_go_back(learner: Learner) -> bool:
    """Whether there are sound weights to go back to, from which something was learnt that could be learnt slower."""
    if learner.good is None or learner.position.step == 0 or learner.health.recoveries >= MOST_RECOVERIES:
        return False
    return all(bool(torch.isfinite(tensor).all()) for tensor in learner.good.values())


def go_back(learner: Learner) -> None:
    """Take the weights that were remembered, forget what the optimizer gathered since, and halve the learning rate.

    Neither the position nor the schedule goes back: the run has the length that was asked for.
    """
    assert learner.good is not None  # noqa: S101 - `can_go_back` said so
    learner.network.load_state_dict(learner.good)
    if learner.average is not None:
        learner.average.module.load_state_dict(learner.good)
    learner.optimizer.state.clear()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.position.rate_factor /= 2
    learner.health.forget_trend()
