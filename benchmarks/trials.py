"""Ways to learn that are no option of ours, to be measured by `levers.py --trial NAME` before any of them is built.

    python benchmarks/trials.py soap train PHOTOS --preset quick ...

A trial replaces a function or two of the program, and then the command line runs as it always does. They need
requirements.txt of this folder.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.cli import main
from maskwright.config import Settings
from maskwright.data import dataset
from maskwright.data.augmentation import Change
from maskwright.data.dataset import Batch, Draw, Samples
from maskwright.training import state, step
from maskwright.training.losses import Total, alone

# Steps until the learning rate of an optimizer without a schedule is at its height.
WARMUP_STEPS = 12
# How much the loss of a level counts that has half as many pixels a side.
HALVED = 0.5
# Of the stages of an encoder whose maps get styles of other pictures: those at strides 4 and 8. Each in half of the
# batches, by shares drawn from a beta distribution of this parameter.
MIXED_STAGES, MIXED, BETA = (1, 2), 0.5, 0.3
# Share of the pictures whose foreground takes the mean colour of its background, and the brightness and contrast
# that it then has, as factors.
HIDDEN, BRIGHTNESS, CONTRAST = 0.25, (0.8, 1.25), (0.6, 1.1)
# What tells the chance of a trial from that of the program.
OWN_CHANCE = 77
# Share of the pictures that are mirrored at most, so that no pixel is a mean of others.
UNMOVED = 0.33


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


def mixed_styles() -> None:
    """MixStyle (Zhou and others, 2021): means and deviations of a map's channels mixed with another picture's."""
    build = state.build_optimizer

    def hook(_stage: nn.Module, _inputs: object, maps: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled() or len(maps) < 2 or torch.rand(()) > MIXED:
            return None
        own = torch.distributions.Beta(BETA, BETA).sample((len(maps), 1, 1, 1)).to(maps)
        mean = maps.detach().mean((2, 3), keepdim=True)
        deviation = (maps.detach().float().var((2, 3), keepdim=True) + 1e-6).sqrt().to(maps)
        other = torch.randperm(len(maps))
        mixed_mean, mixed_deviation = (own * part + (1 - own) * part[other] for part in (mean, deviation))
        return (maps - mean) / deviation * mixed_deviation + mixed_mean

    def build_optimizer(
        network: nn.Module, settings: Settings, pretrained: tuple[nn.Module, ...] = ()
    ) -> torch.optim.Optimizer:
        stages = list(network.get_submodule("encoder.stages").children())
        for place in MIXED_STAGES:
            stages[place].register_forward_hook(hook)
        return build(network, settings, pretrained)

    state.build_optimizer = build_optimizer


def hidden_foregrounds() -> None:
    """Some foregrounds have about the mean colour of their background, so that only shapes tell them apart."""
    fill = Samples._fill

    def fill_and_hide(self: Samples, draw: Draw, sample: Batch) -> None:
        fill(self, draw, sample)
        rng = np.random.default_rng((self.settings.seed, OWN_CHANCE, draw.epoch, draw.picture))
        shares = sample.targets[:1] * sample.weights, (1 - sample.targets[:1]) * sample.weights
        if not self.augment or rng.random() > HIDDEN or min(float(share.sum()) for share in shares) < 1:
            return
        mean, goal = ((sample.images * share).sum((1, 2), keepdim=True) / share.sum() for share in shares)
        brightness, contrast = float(rng.uniform(*BRIGHTNESS)), float(rng.uniform(*CONTRAST))
        hidden = (sample.images - mean) * contrast + goal * brightness
        sample.images.lerp_(hidden.clamp_(0, 1), sample.targets[:1])

    Samples._fill = fill_and_hide  # type: ignore[method-assign]


def unmoved_pictures() -> None:
    """Some pictures are neither turned, shifted nor scaled: moving averages pixels, and a photograph is sharper."""
    draw = dataset.draw_change  # type: ignore[attr-defined]

    def draw_change(settings: Settings, rng: np.random.Generator) -> Change:
        change = draw(settings, rng)
        return replace(change, degrees=0.0, scale=1.0, shift=(0.0, 0.0)) if rng.random() < UNMOVED else change

    dataset.draw_change = draw_change  # type: ignore[attr-defined]


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
    "hidden-foregrounds": hidden_foregrounds,
    "mixed-styles": mixed_styles,
    "schedule-free": schedule_free,
    "soap": soap,
    "unmoved-pictures": unmoved_pictures,
}

if __name__ == "__main__":
    TRIALS[sys.argv[1]]()
    sys.argv[:2] = ["maskwright"]
    sys.exit(main())
