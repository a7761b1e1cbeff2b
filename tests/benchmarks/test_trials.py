"""Ways to learn that are tried out: each changes what it says it does, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trials
from levers import fewer

from maskwright.config import Settings
from maskwright.data import dataset
from maskwright.data.augmentation import draw_change
from maskwright.data.cache import Cache
from maskwright.data.dataset import Batch, Draw, Samples
from maskwright.models.encoder_unet import EncoderUNet
from maskwright.models.unet import UNet
from maskwright.training import state, step


@pytest.fixture(autouse=True)
def _nothing_stays_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in (
        (state, "build_optimizer"),
        (step, "loss_of"),
        (state.Learner, "kept"),
        (state.Learner, "begin_to_learn"),
        (Samples, "_fill"),
        (dataset, "draw_change"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))


def batch_of(*shares: float) -> Batch:
    """Two by two pixels that all count."""
    return Batch(torch.zeros(1, 3, 2, 2), torch.tensor(shares).view(1, 1, 2, 2), torch.ones(1, 1, 2, 2))


def test_hard_targets_are_rounded() -> None:
    logits, settings = torch.tensor([0.5, -1.0, 2.0, 0.0]).view(1, 1, 2, 2), Settings(loss="ce")
    grey, rounded = batch_of(0.6, 0.2, 1.0, 0.5), batch_of(1.0, 0.0, 1.0, 1.0)
    usual = step.loss_of
    trials.hard_targets()
    assert step.loss_of(logits, grey, settings) == usual(logits, rounded, settings) != usual(logits, grey, settings)


def test_each_level_of_a_decoder_is_supervised_by_a_head_that_is_not_kept() -> None:
    network, settings, usual = UNet(base_channels=8, depth=2), Settings(loss="ce"), step.loss_of
    names = set(network.state_dict())
    trials.deep_supervision()
    optimizer = state.build_optimizer(network, settings)
    heads = [parameter for parameter in optimizer.param_groups[-1]["params"] if parameter.ndim > 1]
    batch = Batch(torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48).round(), torch.ones(2, 1, 32, 48))
    logits = network.train()(batch.images)
    together = step.loss_of(logits, batch, settings)
    alone = step.loss_of(logits, batch, settings)  # what the levels said has been used
    assert together != alone == usual(logits, batch, settings)
    together.backward()  # type: ignore[no-untyped-call]
    assert [tuple(head.shape) for head in heads] == [(1, 16, 1, 1)]
    assert all(head.grad is not None and head.grad.abs().sum() > 0 for head in heads)
    network(batch.images[:1])  # of a pass without a loss nothing stays for another batch
    assert step.loss_of(logits, batch, settings) == alone
    network.eval()(batch.images)
    assert step.loss_of(logits, batch, settings) == alone  # nor do they say anything outside of training
    assert set(network.state_dict()) == names


@pytest.mark.parametrize(("trial", "package"), [("soap", "pytorch_optimizer"), ("schedule-free", "schedulefree")])
def test_another_optimizer_learns_with_the_groups_of_ours(trial: str, package: str) -> None:
    pytest.importorskip(package)
    network = UNet(base_channels=8, depth=1)
    settings = Settings(weight_decay=0.1, learning_rate=0.01)
    ours = state.build_optimizer(network, settings)
    trials.TRIALS[trial]()
    optimizer = state.build_optimizer(network, settings)
    assert type(optimizer) is not type(ours)
    for own, other in zip(ours.param_groups, optimizer.param_groups, strict=True):
        assert [id(parameter) for parameter in other["params"]] == [id(parameter) for parameter in own["params"]]
        assert (other["weight_decay"], other["rate_share"], other["lr"]) == (
            own["weight_decay"],
            own["rate_share"],
            0.01,
        )
    before = [parameter.clone() for parameter in network.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.rand(1, 3, 16, 16)).square().mean().backward()
        optimizer.step()
    assert all((parameter != old).any() for parameter, old in zip(network.parameters(), before, strict=True))


def test_styles_are_mixed_among_pictures_that_are_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MIXED", 1.0)
    network, settings = EncoderUNet(base_channels=8, unshuffle=4), Settings(encoder="efficientnet_lite0")
    names, pictures = set(network.state_dict()), torch.rand(2, 3, 64, 64) * torch.tensor([0.2, 1.0]).view(2, 1, 1, 1)
    network.train()
    plain = network(pictures)
    trials.mixed_styles()
    state.build_optimizer(network, settings)
    assert not torch.allclose(network(pictures), plain)
    assert torch.equal(network(pictures[:1]), network(pictures[:1]))  # alone, there is no other style
    with torch.no_grad():
        assert torch.equal(network(pictures), plain)
    assert set(network.state_dict()) == names


def test_a_hidden_foreground_has_the_mean_of_its_background(
    monkeypatch: pytest.MonkeyPatch, ellipse_cache: Cache
) -> None:
    for name, value in {"HIDDEN": 1.0, "BRIGHTNESS": (1.0, 1.0), "CONTRAST": (0.1, 0.1)}.items():
        monkeypatch.setattr(trials, name, value)

    def contrast(*, augment: bool) -> float:
        settings = Settings(flip=0, rotate=0, shift=0, scale=0, colour=0, tint=0)
        image, target, weight = Samples(ellipse_cache, settings, augment=augment)[Draw(0, 0, half=False)]
        inside, outside = target * weight, (1 - target) * weight
        means = [(image * share).sum((1, 2)) / share.sum() for share in (inside, outside)]
        return float((means[0] - means[1]).abs().mean())

    usual = contrast(augment=True)
    trials.hidden_foregrounds()
    assert contrast(augment=True) < 0.3 * usual
    assert contrast(augment=False) == pytest.approx(usual)


def test_a_picture_that_stays_where_it_is_may_be_mirrored_and_recoloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "UNMOVED", 1.0)
    settings = Settings(flip=1.0, tint=1.0)
    usual = draw_change(settings, np.random.default_rng(0))
    trials.unmoved_pictures()
    change = dataset.draw_change(settings, np.random.default_rng(0))  # type: ignore[attr-defined]
    assert (change.degrees, change.scale, change.shift) == (0, 1, (0, 0)) != (usual.degrees, usual.scale, usual.shift)
    assert (change.mirror, change.brightness, change.tint) == (usual.mirror, usual.brightness, usual.tint)


def test_fewer_pictures_are_taken_from_every_group_in_turn(tmp_path: Path) -> None:
    names = ["a1", "a2", "a3", "b1", "c1", "c2"]
    split = {"pictures": {"train": names, "val": ["d1"]}, "group_of": {name: name[0] for name in [*names, "d1"]}}
    (tmp_path / "whole.json").write_text(json.dumps(split))
    content = json.loads(fewer(tmp_path / "whole.json", 4, tmp_path / "few.json").read_text())
    assert content["pictures"] == {"train": ["a1", "b1", "c1", "a2"], "val": ["d1"], "test": ["c2", "a3"]}
    assert content["group_of"] == split["group_of"]
