import copy
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskwright.config import Optimizer, Settings
from maskwright.device import ComputePrecision
from maskwright.errors import InputError
from maskwright.files import previous_of
from maskwright.models.encoder_unet import EncoderUNet
from maskwright.models.unet import UNet
from maskwright.training.freezing import pretrained_layers
from maskwright.training.muon import Muon
from maskwright.training.recovery import remember_good
from maskwright.training.state import (
    Learner,
    Position,
    Tally,
    build_learner,
    build_optimizer,
    fall_back_to_fp32,
    read_state,
    restore,
    save_state,
    set_rate,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(ema=0.9, learning_rate=1e-2, weight_decay=0.1)


def start(
    settings: Settings = SETTINGS, *, depth: int = 1, seed: int = 0, precision: ComputePrecision = "fp32"
) -> Learner:
    torch.manual_seed(seed)
    return build_learner(UNet(base_channels=8, depth=depth), settings, precision=precision)


def learn(learner: Learner, steps: range) -> None:
    """A few steps on noise that the step's number decides."""
    learner.network.train()
    for step in steps:
        images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        learner.optimizer.zero_grad()
        learner.network(images).square().mean().backward()
        learner.optimizer.step()
        if learner.average is not None:
            learner.average.update_parameters(learner.network)


def load(path: Path, learner: Learner) -> None:
    restore(learner, read_state(path), path)


def numbers(learner: Learner) -> list[object]:
    """Everything that a step depends on."""
    average = None if learner.average is None else learner.average.state_dict()
    return [learner.network.state_dict(), learner.optimizer.state_dict(), average, learner.position, learner.tally]


def assert_identical(first: object, second: object) -> None:
    torch.testing.assert_close(first, second, atol=0, rtol=0)


# --- What teaches a network


def test_pretrained_layers_learn_at_their_share_of_the_rate() -> None:
    network = UNet(base_channels=8, depth=1)
    known = pretrained_layers(network)
    learner = build_learner(
        network, dataclasses.replace(SETTINGS, encoder_rate=0.1), precision="fp32", pretrained=known
    )
    set_rate(learner.optimizer, 2.0)
    rates = {id(entry): group["lr"] for group in learner.optimizer.param_groups for entry in group["params"]}
    names = dict(network.named_parameters())
    assert rates.keys() == {id(entry) for entry in names.values()}
    assert rates[id(names["stem.0.weight"])] == rates[id(names["stem.1.bias"])] == pytest.approx(0.2)
    assert rates[id(names["head.weight"])] == rates[id(names["head.bias"])] == 2.0


def test_muon_takes_the_matrices_that_start_afresh() -> None:
    network = EncoderUNet(base_channels=8, unshuffle=2)
    settings = dataclasses.replace(SETTINGS, optimizer="muon")
    optimizer = build_optimizer(network, settings, pretrained_layers(network))
    assert isinstance(optimizer, Muon)
    orthogonal = {id(entry) for group in optimizer.param_groups if group["orthogonal"] for entry in group["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in orthogonal}
    assert "ups.0.conv.0.weight" in names
    assert "ups.0.up.weight" in names
    assert all(name.startswith("ups.") and not name.endswith("bias") for name in names)  # the head is too narrow
    held = {id(entry) for group in optimizer.param_groups for entry in group["params"]}
    assert held == {id(entry) for entry in network.parameters()}


def test_held_layers_learn_nothing_in_training_mode_either() -> None:
    network = EncoderUNet(base_channels=8)
    settings = dataclasses.replace(SETTINGS, held_levels=2)
    learner = build_learner(network, settings, precision="fp32", pretrained=pretrained_layers(network))
    learner.begin_to_learn()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    learner.optimizer.step()
    moved = {name.rpartition(".")[0] for name, tensor in network.state_dict().items() if (tensor != before[name]).any()}
    assert not any(name.startswith(("encoder.stem", "encoder.stages.0", "encoder.stages.1")) for name in moved)
    assert any(name.startswith("encoder.stages.2") for name in moved)


def test_in_16_bit_the_channels_of_a_pixel_lie_side_by_side() -> None:
    for precision, expected in (("bf16", True), ("fp32", False)):
        learner = build_learner(UNet(base_channels=8, depth=1), SETTINGS, precision=precision)  # type: ignore[arg-type]
        weights = [entry for entry in learner.kept().parameters() if entry.ndim == 4 and min(entry.shape) > 1]
        assert weights
        assert all(entry.is_contiguous(memory_format=torch.channels_last) == expected for entry in weights)


def test_a_lite_encoder_that_falls_back_to_fp32_lies_as_one_that_began_there() -> None:
    learner = build_learner(EncoderUNet(base_channels=8), SETTINGS, precision="bf16")
    fall_back_to_fp32(learner)
    for network in (learner.network, learner.kept()):
        for name, weight in network.named_parameters():
            if weight.ndim == 4 and min(weight.shape) > 1:
                is_beside = weight.is_contiguous(memory_format=torch.channels_last)
                assert is_beside is name.startswith("encoder."), name


def test_on_a_processor_in_fp32_only_a_lite_encoder_has_the_channels_of_a_pixel_side_by_side() -> None:
    learner = build_learner(EncoderUNet(base_channels=8), SETTINGS, precision="fp32")
    laid_out: dict[str, bool] = {}

    def note(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Conv2d) and min(output.shape) > 1:
            laid_out[names[module]] = output.is_contiguous(memory_format=torch.channels_last)

    names = {module: name for name, module in learner.network.named_modules()}
    for module in learner.network.modules():
        module.register_forward_hook(note)
    learner.network(torch.rand(2, 3, 64, 64))
    assert len(laid_out) > 50
    assert {name for name, together in laid_out.items() if together} == {
        name for name in laid_out if name.startswith("encoder.")
    }


# --- Saved and loaded


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "muon", "sgd", "rmsprop"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_saved_run_continues_bit_for_bit(
    optimizer: str, ema: float, precision: ComputePrecision, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, optimizer=optimizer, ema=ema)  # type: ignore[arg-type]
    learner = start(settings, precision=precision)
    learn(learner, range(3))
    save_state(tmp_path / "state.pth", learner)
    learn(learner, range(3, 6))
    resumed = start(settings, seed=1, precision=precision)
    load(tmp_path / "state.pth", resumed)
    learn(resumed, range(3, 6))
    assert_identical(numbers(resumed)[:3], numbers(learner)[:3])


def test_the_moments_of_the_optimizer_are_kept(tmp_path: Path) -> None:
    learner, resumed = start(), start(seed=1)
    learn(learner, range(3))
    save_state(tmp_path / "state.pth", learner)
    load(tmp_path / "state.pth", resumed)
    moments = list(resumed.optimizer.state.values())
    assert len(moments) == len(list(learner.network.parameters()))
    for mine, theirs in zip(moments, learner.optimizer.state.values(), strict=True):
        assert mine["exp_avg_sq"].any()
        assert_identical(dict(mine), dict(theirs))


@pytest.mark.parametrize(("saved", "resumed"), [("bf16", "fp32"), ("fp32", "bf16")])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "muon", "sgd", "rmsprop"])
def test_averages_lie_in_memory_as_the_weights_do_whatever_the_precision_was(
    optimizer: Optimizer, saved: ComputePrecision, resumed: ComputePrecision, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, optimizer=optimizer)
    learner, other = start(settings, precision=saved), start(settings, seed=1, precision=resumed)
    learn(learner, range(2))
    for group in learner.optimizer.param_groups:
        if "fused" in group:
            group["fused"] = None  # as on another device
    save_state(tmp_path / "state.pth", learner)
    load(tmp_path / "state.pth", other)
    moved = 0
    for (weight, mine), theirs in zip(other.optimizer.state.items(), learner.optimizer.state.values(), strict=True):
        for name, average in mine.items():
            if isinstance(average, Tensor) and average.shape == weight.shape:
                assert average.stride() == weight.stride()
                moved += average.stride() != theirs[name].stride()
                torch.testing.assert_close(average, theirs[name])
    assert moved > 0
    assert all(group.get("fused", True) for group in other.optimizer.param_groups)


def test_the_position_and_the_tally_are_kept(tmp_path: Path) -> None:
    learner, resumed = start(), start(seed=1)
    learner.position = Position(3, 5, 41, 12.5, 600.0, 0.75, 2, 1, validated_at=11.0, validation_seconds=0.5)
    learner.tally = Tally(20, 3.5, 12.25, 19, 4.5)
    save_state(tmp_path / "state.pth", learner)
    load(tmp_path / "state.pth", resumed)
    assert (resumed.position, resumed.tally) == (learner.position, learner.tally)


def test_the_health_and_the_weights_to_go_back_to_are_kept(tmp_path: Path) -> None:
    learner, resumed = start(), start(seed=1)
    for batch in range(30):
        learner.health.note_batch(1.0 - batch / 100, batch / 40)
    learner.health.note_validation(0.5, [90.0, 10.0], [70.0, 30.0])
    remember_good(learner)
    save_state(tmp_path / "state.pth", learner)
    load(tmp_path / "state.pth", resumed)
    assert resumed.health == learner.health
    assert_identical(resumed.good, learner.good)


def test_the_weights_to_go_back_to_do_not_change_with_the_network(tmp_path: Path) -> None:
    learner = start(dataclasses.replace(SETTINGS, ema=0.0))
    remember_good(learner)
    before = copy.deepcopy(learner.network.state_dict())
    learn(learner, range(2))
    assert_identical(learner.good, dict(before))


def test_the_random_state_is_kept_and_saving_draws_nothing_from_it(tmp_path: Path) -> None:
    learner = start()
    save_state(tmp_path / "state.pth", learner)
    expected = torch.rand(3)
    torch.manual_seed(99)
    load(tmp_path / "state.pth", start(seed=1))
    assert_identical(torch.rand(3), expected)


def test_the_lines_of_metrics_are_kept(tmp_path: Path) -> None:
    learner, resumed = start(), start(seed=1)
    learner.lines = ['{"step": 1}\n', '{"step": 2}\n']
    save_state(tmp_path / "state.pth", learner)
    load(tmp_path / "state.pth", resumed)
    assert resumed.lines == learner.lines


def test_the_state_before_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    learner, path = start(), tmp_path / "state.pth"
    for step in range(3):
        learner.position.step = step
        save_state(path, learner)
    assert [read_state(each)["position"]["step"] for each in (previous_of(path), path)] == [1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_scale_of_fp16_is_kept(tmp_path: Path) -> None:
    learners = [build_learner(nn.Conv2d(3, 1, 1), SETTINGS, precision="fp16") for _ in range(2)]
    learners[0].scaler.load_state_dict({**learners[0].scaler.state_dict(), "scale": 128.0, "_growth_tracker": 7})
    save_state(tmp_path / "state.pth", learners[0])
    load(tmp_path / "state.pth", learners[1])
    assert learners[1].scaler.state_dict() == learners[0].scaler.state_dict()
    assert learners[1].scaler.get_scale() == 128.0


# --- What cannot be loaded


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    learner = start()
    learn(learner, range(1))
    save_state(tmp_path / "state.pth", learner)
    return tmp_path / "state.pth"


def assert_damaged(path: Path) -> None:
    with pytest.raises(InputError, match=f"^{path} is damaged") as raised:
        read_state(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_state_is_damaged(share: float, saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    assert_damaged(saved)


def test_a_single_bit_that_fell_over_in_any_part_is_damage_or_changes_nothing(saved: Path) -> None:
    content, found = saved.read_bytes(), read_state(saved)
    damaged = 0
    for place in range(0, len(content), len(content) // 60):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :])
        try:
            assert_identical(read_state(saved), found)
        except InputError:
            damaged += 1
    assert damaged > 50


@pytest.mark.parametrize("content", [b"not a state", b"\x80\x02 pickled, almost", b"PK\x03\x04 zipped, almost"])
def test_garbage_is_damaged(content: bytes, saved: Path) -> None:
    saved.write_bytes(content)
    assert_damaged(saved)


@pytest.mark.parametrize("content", [[1, 2], {}, {"network": 3}, torch.zeros(2)])
def test_a_file_of_torch_that_is_no_state_is_refused(content: object, saved: Path) -> None:
    torch.save(content, saved)
    assert_refused(saved, start())


def assert_refused(path: Path, learner: Learner) -> None:
    with pytest.raises(InputError, match=f"^{path} cannot be resumed from") as raised:
        load(path, learner)
    assert "\n" not in str(raised.value)


def test_the_state_of_another_network_is_refused(saved: Path) -> None:
    assert_refused(saved, start(depth=2))


def test_a_state_without_averaged_weights_is_refused_where_they_are_wanted(saved: Path) -> None:
    save_state(saved, start(Settings(ema=0.0)))
    assert_refused(saved, start())


# --- What cannot be saved


def test_without_room_the_state_of_before_stays_and_the_error_says_how_much_it_takes(
    saved: Path, largest_file: Callable[[int], None]
) -> None:
    learner = start()
    load(saved, learner)
    before, size = saved.read_bytes(), saved.stat().st_size
    largest_file(size // 2)
    with pytest.raises(OSError, match=rf"it takes {size / 1e6:.1f} MB, and \d+\.\d MB are free: '{saved}'"):
        save_state(saved, learner)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


# --- Code


class Malice:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("kind", ["torch", "torch, old format", "pickle"])
def test_code_in_a_state_is_refused_and_not_run(kind: str, saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    content = {"network": Malice(trace)}
    if kind == "pickle":
        saved.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, saved, _use_new_zipfile_serialization=kind == "torch")
    assert_damaged(saved)
    assert not trace.exists()
    torch.load(saved, weights_only=False) if kind != "pickle" else pickle.loads(saved.read_bytes())  # noqa: S301
    assert trace.exists()  # it would have


# --- The average


def test_averaged_weights_equal_a_plain_loop() -> None:
    learner = start(dataclasses.replace(SETTINGS, ema=0.6))
    learn(learner, range(1))
    expected = copy.deepcopy(learner.network.state_dict())
    for step in range(1, 12):
        learn(learner, range(step, step + 1))
        share = 1 - min(0.6, (1 + step) / (10 + step))
        for name, now in learner.network.state_dict().items():
            is_float = now.is_floating_point()
            expected[name] = expected[name] * (1 - share) + now * share if is_float else now.clone()
    found = learner.kept().state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5)


def test_averaged_weights_include_the_statistics_of_the_batches() -> None:
    learner = start()
    learn(learner, range(20))
    average, raw = (network.state_dict() for network in (learner.kept(), learner.network))
    for name in ("stem.1.running_mean", "stem.1.running_var"):
        assert not torch.equal(average[name], raw[name])
        torch.testing.assert_close(average[name], raw[name], atol=0.1, rtol=0.5)
    assert average["stem.1.num_batches_tracked"] == 20


def test_without_averaging_the_raw_weights_are_kept() -> None:
    learner = start(Settings(ema=0.0))
    assert learner.kept() is learner.network


# --- The optimizer


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_the_optimizer_is_as_asked(name: str, kind: type[torch.optim.Optimizer]) -> None:
    settings = Settings(optimizer=name, learning_rate=0.25)  # type: ignore[arg-type]
    optimizer = build_optimizer(UNet(base_channels=8, depth=1), settings)
    assert type(optimizer) is kind
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    assert {group["fused"] for group in optimizer.param_groups} == {True}  # here, on a CPU


@pytest.mark.parametrize(
    ("optimizer", "given", "used"),
    [
        ("adamw", None, 0.01),
        ("muon", None, 0.01),
        ("adam", None, 0.0),
        ("sgd", None, 0.0),
        ("rmsprop", None, 0.0),
        ("sgd", 0.02, 0.02),
        ("adamw", 0.0, 0.0),
    ],
)
def test_weight_decay_is_none_by_default_where_it_would_be_added_to_gradients(
    optimizer: Optimizer, given: float | None, used: float
) -> None:
    settings = Settings(optimizer=optimizer, weight_decay=given)
    groups = build_optimizer(UNet(3, 1, base_channels=8, depth=1), settings).param_groups
    assert {group["weight_decay"] for group in groups} == {used, 0.0}


def test_weight_decay_pulls_at_convolutions_only() -> None:
    network = UNet(base_channels=8, depth=1)
    settings = Settings(weight_decay=0.3, encoder_rate=0.1)
    optimizer = build_optimizer(network, settings, pretrained_layers(network))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    weights = {id(module.weight) for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)}
    parameter: Tensor
    for parameter in network.parameters():
        assert decays[id(parameter)] == (0.3 if id(parameter) in weights else 0.0)
