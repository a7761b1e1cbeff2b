import dataclasses
from pathlib import Path
from typing import Any

import pytest

from maskwright.config import (
    Architecture,
    Settings,
    nearest_preset,
    preset_names,
    read_preset,
    read_settings,
    read_started_from,
    settings_from,
    write_settings,
)
from maskwright.errors import InputError

# Every setting at something else than its default.
UNUSUAL = Settings(
    encoder="timm:resnet18",
    encoder_weights="weights/resnet18.safetensors",
    unshuffle=2,
    base_channels=24,
    widest=48,
    depth=3,
    norm="group",
    upsampling="bilinear",
    size=200,
    crop=160,
    small_first=0.25,
    augment=False,
    flip=0.1,
    scale=0.3,
    shift=0.2,
    rotate=5.5,
    colour=0.4,
    classes="background=0,car=#ff0000",
    ignore="void, 255",
    foreground="dark",
    group=r'(\w+)_"\d',
    split="runs/a/split.json",
    val_share=0.3,
    test_share=0.1,
    skip_bad=True,
    loss="ce+iou",
    boundary_weight=2.0,
    tint=0.25,
    encoder_rate=0.3,
    optimizer="adam",
    learning_rate=2e-4,
    find_rate=True,
    weight_decay=0.1,
    schedule="step",
    step_epochs=3,
    warmup=0.1,
    batch_size=3,
    accumulate=2,
    clip_norm=0.5,
    ema=0.9,
    minutes=1.5,
    epochs=4,
    patience=2,
    overfit_check=False,
    seed=7,
    save_every=50,
    device="cuda:1",
    memory="3.5GiB",
    precision="bf16",
    workers=1,
    cache_gb=1.5,
    class_weights="none",
    freeze=0.2,
    held_levels=1,
    tensorboard=True,
    storage="lean",
)
# Settings that only go with one another.
PARTNERS: dict[str, dict[str, Any]] = {
    "folds": {"folds": 3},
    "fold": {"folds": 3, "fold": 1},
    "factor": {"factor": 0.5, "crop": 160},
    "encoder_weights": {"encoder": "timm:resnet18", "encoder_weights": "weights/resnet18.safetensors"},
}
NAMES = [field.name for field in dataclasses.fields(Settings)]


# --- Files


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_survives_the_file(name: str, tmp_path: Path) -> None:
    settings = dataclasses.replace(Settings(), **PARTNERS.get(name, {name: getattr(UNUSUAL, name)}))
    assert settings != Settings()
    write_settings(tmp_path / "config.toml", settings)
    assert read_settings(tmp_path / "config.toml") == settings


def test_all_settings_survive_the_file_together(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.toml", UNUSUAL)
    assert read_settings(tmp_path / "config.toml") == UNUSUAL


def test_settings_that_are_none_stay_none(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.toml", Settings())
    again = read_settings(tmp_path / "config.toml")
    assert (again.group, again.minutes, again.epochs, again.workers) == (None, None, None, None)


def test_the_model_that_a_run_started_from_stands_beside_its_settings(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.toml", UNUSUAL, started_from={"name": "a/model.safetensors"})
    assert read_settings(tmp_path / "config.toml") == UNUSUAL
    assert read_started_from(tmp_path / "config.toml") == {"name": "a/model.safetensors"}


def test_a_run_that_started_from_no_model_says_nothing_of_one(tmp_path: Path) -> None:
    write_settings(tmp_path / "config.toml", Settings())
    assert read_started_from(tmp_path / "config.toml") == {}


def test_an_unknown_setting_is_refused_with_its_source() -> None:
    with pytest.raises(InputError, match=r"^my\.toml: there is no setting 'learnign_rate'\.$"):
        settings_from({"size": 64, "learnign_rate": 1.0}, source="my.toml")


# --- Presets


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str) -> None:
    assert isinstance(read_preset(name), Settings)


def test_the_presets_are_listed() -> None:
    assert {"classic", "quick"} <= set(preset_names())


def test_the_classic_preset_is_the_published_network() -> None:
    assert read_preset("classic").architecture() == Architecture()


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'quikc'; choose one of .*quick"):
        read_preset("quikc")


# --- Values


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("size", 31, "--size"),
        ("size", 0, "--size"),
        ("crop", 31, "--crop"),
        ("factor", 0.0, "--factor"),
        ("factor", 1.5, "--factor"),
        ("batch_size", 0, "--batch-size"),
        ("accumulate", 0, "--accumulate"),
        ("memory", "much", "--memory"),
        ("memory", "0GB", "--memory"),
        ("memory", "-1GB", "--memory"),
        ("step_epochs", 0, "--step-epochs"),
        ("small_first", 1.1, "--small-first"),
        ("small_first", -0.1, "--small-first"),
        ("flip", 1.1, "--flip"),
        ("shift", -0.1, "--shift"),
        ("warmup", 2.0, "--warmup"),
        ("freeze", 1.1, "--freeze"),
        ("class_weights", "some", "--class-weights"),
        ("scale", 1.0, "--scale"),
        ("colour", -0.1, "--colour"),
        ("ema", 1.0, "--ema"),
        ("val_share", 1.0, "--val-share"),
        ("val_share", 0.0, "--val-share"),
        ("test_share", -0.1, "--test-share"),
        ("learning_rate", 0.0, "--learning-rate"),
        ("learning_rate", float("nan"), "--learning-rate"),
        ("minutes", 0.0, "--minutes"),
        ("epochs", 0, "--epochs"),
        ("loss", "dise", "--loss"),
        ("loss", "bce+", "--loss"),
        ("rotate", -1.0, "--rotate"),
        ("weight_decay", -0.1, "--weight-decay"),
        ("clip_norm", -1.0, "--clip-norm"),
        ("patience", -1, "--patience"),
        ("seed", -1, "--seed"),
        ("workers", -1, "--workers"),
        ("encoder", "resnet34", "--encoder"),
        ("encoder", "timm:", "--encoder"),
        ("encoder", "hub:resnet34", "--encoder"),
        ("encoder_weights", "resnet34.pth", "--encoder-weights needs the --encoder"),
        ("unshuffle", 3, "--unshuffle"),
        ("group", "(", "is no regular expression"),
        ("norm", "layer", "--norm"),
        ("upsampling", "nearest", "--upsampling"),
        ("optimizer", "lion", "--optimizer"),
        ("schedule", "linear", "--schedule"),
        ("precision", "fp8", "--precision"),
        ("base_channels", 0, "base_channels"),
        ("depth", 0, "depth"),
    ],
)
def test_a_value_that_could_only_fail_later_is_refused(name: str, value: Any, word: str) -> None:
    with pytest.raises(InputError, match=word) as raised:
        dataclasses.replace(Settings(), **{name: value})
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 32),
        ("crop", 32),
        ("factor", 1.0),
        ("small_first", 1.0),
        ("flip", 0.0),
        ("warmup", 1.0),
        ("scale", 0.0),
        ("ema", 0.0),
        ("epochs", 1),
    ],
)
def test_values_at_the_limit_are_accepted(name: str, value: Any) -> None:
    assert getattr(dataclasses.replace(Settings(), **{name: value}), name) == value


def test_pictures_are_of_one_size_or_of_a_factor_of_their_own() -> None:
    with pytest.raises(InputError, match="--size and --factor exclude each other; --size None drops"):
        Settings(size=64, factor=0.5)
    assert dataclasses.replace(read_preset("classic"), size=None, factor=0.5).factor == 0.5
    assert Settings(size=640, crop=256).crop == 256


def test_group_normalisation_needs_channels_that_divide() -> None:
    with pytest.raises(InputError, match="divisible by 8"):
        Settings(norm="group", base_channels=12)


@pytest.mark.parametrize("name", ["in_channels", "num_classes"])
def test_an_architecture_without_channels_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        dataclasses.replace(Architecture(), **{name: 0})  # type: ignore[arg-type]


def test_losses_are_added_by_name() -> None:
    assert Settings(loss="bce + dice").loss_terms() == ["bce", "dice"]


def test_the_architecture_takes_every_setting_of_the_network() -> None:
    architecture = UNUSUAL.architecture(in_channels=4, num_classes=5)
    assert architecture == Architecture("timm:resnet18", 4, 5, 24, 3, "group", "bilinear", 2, 48)


def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("size = ")
    with pytest.raises(InputError, match=r"config\.toml is not TOML"):
        read_settings(tmp_path / "config.toml")


def test_what_is_chosen_for_a_run_makes_it_no_run_of_another_preset() -> None:
    """A run of `quick` with thin masks and time to spare has the width and the decoder's end of `best`."""
    chosen: dict[str, Any] = {
        "size": 960,
        "batch_size": 4,
        "unshuffle": 2,
        "base_channels": 32,
        "crop": 640,
        "tint": 0.5,
    }
    for name in preset_names():
        preset = read_preset(name)
        settled = dataclasses.replace(
            preset, **{word: value for word, value in chosen.items() if getattr(preset, word) is None}
        )
        for levels in (0, 2, 3):
            held = levels if preset.held_levels is None else preset.held_levels
            assert nearest_preset(dataclasses.replace(settled, held_levels=held, minutes=20.0)) == name
