"""Muon: momentum whose direction is the same in every singular vector; AdamW for what is no matrix.

A step of Adam weighs each number by its own history. Muon weighs a layer's weights as one matrix: it makes all singular
values of the momentum equal, so that rare directions move as far as common ones. That takes a few matrix products
a layer, little beside a forward pass.

Source: Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024), with the scale of Liu et al., "Muon is
scalable for LLM training" (2025), section 2.2, which makes its steps as long as AdamW's: one learning rate serves both.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from maskwright.device import prefers_fused_steps

# Of the quintic polynomial that Jordan chose: it drives singular values to about 1 in few steps, not exactly to it.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
# AdamW's steps have about this root mean square.
ADAMW_RMS = 0.2
EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for groups with ``orthogonal``, AdamW for all others.

    Args:
        groups: Parameter groups; those with ``orthogonal=True`` hold tensors of two or more dimensions.
        lr: Learning rate of all groups that have none of their own.
        momentum: Decay of Muon's momentum, taken Nesterov's way.
        betas: Decays of AdamW's moments.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": 0.0, "orthogonal": False}
        super().__init__(groups, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step; ``closure`` computes the loss and its gradients anew first."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            learnt = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not group["orthogonal"]:
                self._adamw(learnt, group)
                continue
            for parameter in learnt:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                change = _orthogonal_change(parameter.grad, self.state[parameter], group["momentum"])
                parameter.add_(change, alpha=-group["lr"])
        return loss

    def _adamw(self, learnt: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in learnt]
        for parameter, own in zip(learnt, states, strict=True):
            if not own:
                own.update(mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter), step=torch.zeros(()))
        means, squares, steps = ([own[name] for own in states] for name in ("mean", "square", "step"))
        first, second = group["betas"]
        adamw(
            learnt,
            [parameter.grad for parameter in learnt if parameter.grad is not None],
            means,
            squares,
            [],
            steps,
            fused=prefers_fused_steps(group["params"][0].device.type),
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=EPSILON,
            maximize=False,
        )


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix ``(A, B)`` with the same singular vectors, and all singular values between about 0.7 and 1.2."""
    a, b, c = QUINTIC
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix  # the products below are of the shorter side
    x = x / x.norm().clamp_min(EPSILON)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def _orthogonal_change(gradient: Tensor, state: dict[str, Tensor], momentum: float) -> Tensor:
    average = state.setdefault("momentum", torch.zeros_like(gradient))
    average.lerp_(gradient, 1 - momentum)
    ahead = gradient.lerp(average, momentum).flatten(1)
    return (orthogonalised(ahead) * (ADAMW_RMS * math.sqrt(max(ahead.shape)))).view_as(gradient)
