"""Ways to learn that are no option of ours, to be measured by `levers.py --trial NAME` before any of them is built.

    python benchmarks/trials.py soap train PHOTOS --preset quick ...

A trial replaces a function or two of the program, and then the command line runs as it always does. They need
requirements.txt of this folder.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.cli import main
from maskwright.config import Settings
from maskwright.data.dataset import Batch
from maskwright.training import state, step
from maskwright.training.losses import Total, alone

# Steps until the learning rate of an optimizer without a schedule is at its height.
WARMUP_STEPS = 12
# How much the loss of a level counts that has half as many pixels a side.
HALVED = 0.5


def hard_targets() -> None:
    """Pixels on an outline belong to the foreground or not, instead of by the share that it has of them."""
    compute = step.loss_of

    def loss_of(
        logits: Tensor, batch: Batch, settings: Settings, class_weights: Sequence[float] = (), total: Total = alone
    ) -> Tensor:
        rounded = batch._replace(targets=(batch.targets >= 0.5).to(batch.targets.dtype))
        return compute(logits, rounded, settings, class_weights, total)

    step.loss_of = loss_of


def deep_supervision() -> None:
    """Each level of the decoder has a head and a loss of its own while it learns, as in nnU-Net."""
    build, compute = state.build_optimizer, step.loss_of
    answers: dict[int, Tensor] = {}

    def listen(place: int, level: nn.Module, head: nn.Module) -> None:
        def hook(level: nn.Module, _inputs: object, output: Tensor) -> None:
            if level.training:
                answers[place] = head(output)

        level.register_forward_hook(hook)

    def build_optimizer(
        network: nn.Module, settings: Settings, pretrained: tuple[nn.Module, ...] = ()
    ) -> torch.optim.Optimizer:
        heads = nn.ModuleList()
        for place, level in enumerate(list(network.get_submodule("ups").children())[:-1]):
            widths = [module.out_channels for module in level.modules() if isinstance(module, nn.Conv2d)]
            heads.append(nn.Conv2d(widths[-1], 1, kernel_size=1))
            listen(place, level, heads[-1])
        optimizer = build(network, settings, pretrained)
        optimizer.add_param_group({"params": list(heads.parameters()), "weight_decay": 0.0, "rate_share": 1.0})
        return optimizer

    def loss_of(
        logits: Tensor, batch: Batch, settings: Settings, class_weights: Sequence[float] = (), total: Total = alone
    ) -> Tensor:
        losses = [compute(logits, batch, settings, class_weights, total)]
        height, width = logits.shape[-2:]
        # What levels said in a pass that no loss followed, when a step was tried out, is of no use to another.
        for place in sorted(answers, reverse=True) if logits.requires_grad else ():
            if len(answers[place]) != len(logits):
                continue
            # Their pixels are squares of a power of two; a network may have padded its input below and to the right.
            factor = 2 ** round(math.log2(height / answers[place].shape[-2]))
            whole = F.interpolate(answers[place], scale_factor=factor, mode="bilinear")[..., :height, :width]
            losses.append(compute(whole, batch, settings, class_weights, total))
        answers.clear()
        shares = [HALVED**place for place in range(len(losses))]
        return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True)]).sum() / sum(shares)

    state.build_optimizer, step.loss_of = build_optimizer, loss_of


def schedule_free() -> None:
    """AdamW without a schedule (Defazio and others, 2024); to be given --schedule constant, --warmup 0 and --ema 0."""
    from schedulefree import AdamWScheduleFree

    class ReadyAdamW(AdamWScheduleFree):  # type: ignore[misc]
        """Goes back to the point that it learns at after somebody has looked at the average."""

        def step(self, closure: Callable[[], float] | None = None) -> float | None:
            self.train()
            moved: float | None = super().step(closure)
            return moved

    def kept(self: state.Learner) -> nn.Module:
        if isinstance(self.optimizer, ReadyAdamW):
            self.optimizer.eval()
        return self.network

    begin = state.Learner.begin_to_learn

    def begin_to_learn(self: state.Learner) -> None:
        if isinstance(self.optimizer, ReadyAdamW):
            self.optimizer.train()
        begin(self)

    _replace_optimizer(lambda groups, rate: ReadyAdamW(groups, lr=rate, warmup_steps=WARMUP_STEPS))
    state.Learner.kept, state.Learner.begin_to_learn = kept, begin_to_learn  # type: ignore[method-assign]


def soap() -> None:
    """SOAP (Vyas and others, 2024): Adam in the basis of Shampoo's preconditioner."""
    from pytorch_optimizer import SOAP

    _replace_optimizer(lambda groups, rate: SOAP(groups, lr=rate))


def _replace_optimizer(make: Callable[[list[dict[str, Any]], float], torch.optim.Optimizer]) -> None:
    """Give the groups that AdamW would have to another optimizer."""
    build = state.build_optimizer

    def build_optimizer(
        network: nn.Module, settings: Settings, pretrained: tuple[nn.Module, ...] = ()
    ) -> torch.optim.Optimizer:
        known = build(network, settings, pretrained)
        groups = [
            {name: group[name] for name in ("params", "weight_decay", "rate_share")} for group in known.param_groups
        ]
        return make(groups, settings.learning_rate)

    state.build_optimizer = build_optimizer


TRIALS: dict[str, Callable[[], None]] = {
    "deep-supervision": deep_supervision,
    "hard-targets": hard_targets,
    "schedule-free": schedule_free,
    "soap": soap,
}

if __name__ == "__main__":
    TRIALS[sys.argv[1]]()
    sys.argv[:2] = ["maskwright"]
    sys.exit(main())
