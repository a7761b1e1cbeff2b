import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.config import Architecture, Settings
from maskwright.data.cache import Cache
from maskwright.data.duplicates import looks_of
from maskwright.data.groups import Groups, merge_groups, print_of_group
from maskwright.data.labels import BLACK_AND_WHITE, LabelMap
from maskwright.data.reading import Formats, fingerprint_of
from maskwright.errors import InputError
from maskwright.evaluation.unseen import Known
from maskwright.inference.model_file import ModelCard, save_model
from maskwright.models.build import build_network
from maskwright.training.material import Material
from maskwright.training.starting_point import (
    StartingPoint,
    read_starting_point,
    take_weights,
    with_architecture_of,
    with_those_of,
)

THREE = LabelMap("names", ("soil", "crop", "weed"))
SMALL = Architecture(base_channels=8, depth=2)


def start_from(
    folder: Path, architecture: Architecture = SMALL, labels: LabelMap = BLACK_AND_WHITE, **card: tuple[str, ...]
) -> StartingPoint:
    """A model file with random weights."""
    torch.manual_seed(1)
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    path = folder / "spring" / "model.safetensors"
    save_model(path, ModelCard(architecture, size=96, labels=labels, **card), weights)  # type: ignore[arg-type]
    return read_starting_point(path)


# --- The settings


def test_the_network_and_the_size_are_those_of_the_model(tmp_path: Path) -> None:
    start = start_from(tmp_path, Architecture(base_channels=16, depth=3, norm="group", upsampling="bilinear"))
    settings = with_architecture_of(Settings(learning_rate=0.5, seed=3), start.card)
    network = Settings(base_channels=16, depth=3, norm="group", upsampling="bilinear", unshuffle=1)
    expected = dataclasses.replace(network, size=96, learning_rate=0.5, seed=3)
    assert settings == expected


def test_cut_outs_are_those_of_the_model() -> None:
    card = ModelCard(SMALL, size=None, factor=0.5, tile=256)
    settings = with_architecture_of(Settings(size=480), card)
    assert (settings.size, settings.factor, settings.crop) == (None, 0.5, 256)


def test_the_parent_is_told_by_its_folder_and_its_content(tmp_path: Path) -> None:
    start = start_from(tmp_path)
    assert start.parent.name == "spring/model.safetensors"
    assert start.parent.fingerprint == fingerprint_of(start.path)


# --- The weights


def test_a_model_whose_weights_are_no_numbers_is_refused(tmp_path: Path) -> None:
    start = start_from(tmp_path)
    name = next(iter(start.weights))
    save_model(start.path, start.card, {**start.weights, name: start.weights[name] * np.nan})
    with pytest.raises(InputError, match=f"no numbers .{name}."):
        read_starting_point(start.path)


def test_the_same_network_takes_every_weight(tmp_path: Path) -> None:
    start = start_from(tmp_path)
    taken = take_weights(start, SMALL, BLACK_AND_WHITE)
    network = build_network(SMALL)
    network.load_state_dict(taken.weights)
    assert all(torch.equal(tensor, torch.from_numpy(start.weights[n])) for n, tensor in network.state_dict().items())
    assert taken.fresh == ()
    assert taken.in_words() == f"all of its {taken.layers} layers"


def test_another_number_of_classes_leaves_the_head_fresh_and_says_so(tmp_path: Path) -> None:
    taken = take_weights(start_from(tmp_path), Architecture(base_channels=8, depth=2, num_classes=3), THREE)
    assert taken.fresh == ("head",)
    assert {name.partition(".")[0] for name in taken.weights} == {"stem", "downs", "ups"}
    assert "head afresh" in taken.in_words()
    assert "num_classes 3 instead of 1" in taken.in_words()


def test_another_number_of_channels_leaves_only_the_first_convolution_fresh(tmp_path: Path) -> None:
    taken = take_weights(start_from(tmp_path), Architecture(base_channels=8, depth=2, in_channels=5), BLACK_AND_WHITE)
    assert taken.fresh == ("stem",)
    missing = build_network(SMALL).state_dict().keys() - taken.weights.keys()
    assert missing == {"stem.0.weight"}


def test_as_many_classes_of_other_names_leave_the_head_fresh(tmp_path: Path) -> None:
    architecture = Architecture(base_channels=8, depth=2, num_classes=3)
    start = start_from(tmp_path, architecture, THREE)
    other = take_weights(start, architecture, LabelMap("names", ("road", "car", "sky")))
    assert other.fresh == ("head",)
    assert "called otherwise" in other.in_words()
    assert take_weights(start, architecture, THREE).fresh == ()


def test_a_foreground_of_another_name_keeps_the_head(tmp_path: Path) -> None:
    labels = LabelMap("names", ("background", "crack"))
    assert take_weights(start_from(tmp_path), SMALL, labels).fresh == ()


def test_a_layer_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    wider = Architecture("efficientnet_lite0", base_channels=16)
    start = start_from(tmp_path, Architecture("efficientnet_lite0", base_channels=8))
    taken = take_weights(start, wider, BLACK_AND_WHITE)
    assert {name.partition(".")[0] for name in taken.weights} == {"encoder"}
    assert taken.fresh == ("ups", "head")
    assert "base_channels 16 instead of 8" in taken.in_words()


def test_of_another_encoder_no_layer_is_taken(tmp_path: Path) -> None:
    """The first stages of these two have the same shapes, and other weights."""
    start = start_from(tmp_path, Architecture("efficientnet_lite0", base_channels=8))
    taken = take_weights(start, Architecture("efficientnet_lite1", base_channels=8), BLACK_AND_WHITE)
    assert {name.partition(".")[0] for name in taken.weights} == {"ups", "head"}
    assert taken.fresh == ("encoder",)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (Architecture(base_channels=16, depth=2), "base_channels 16 instead of 8"),
        (Architecture("efficientnet_lite0", base_channels=24), "encoder efficientnet_lite0 instead of none"),
    ],
)
def test_a_network_that_nothing_fits_is_refused_with_the_reason(asked: Architecture, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word) as raised:
        take_weights(start_from(tmp_path), asked, BLACK_AND_WHITE)
    assert str(tmp_path / "spring" / "model.safetensors") in str(raised.value)


# --- The pictures


def test_what_the_first_model_saw_was_seen(tmp_path: Path) -> None:
    start = start_from(tmp_path, trained_on=("a", "b"), chosen_on=("c", "d"), looks=("l",), groups=("g",))
    seen = with_those_of(start, trained_on=("b", "c"), chosen_on=("e",), looks=("m",), groups=("g", "h"))
    assert seen == {
        "trained_on": ("b", "c", "a"),
        "chosen_on": ("e", "d"),
        "looks": ("m", "l"),
        "groups": ("g", "h"),
    }
    known = Known(dataclasses.replace(start.card, looks=()), {})
    assert [known.kind(fingerprint, looks=()) for fingerprint in "bce"] == ["learnt", "chosen", "unseen"]


def test_without_a_model_to_start_from_the_pictures_are_those_of_the_run() -> None:
    own = {"trained_on": ("a",), "chosen_on": ("b",), "looks": (), "groups": ()}
    assert with_those_of(None, **own) == own


# --- What is held out


def holding_out(cache: Cache, first: int) -> Material:
    """Pictures of six groups of two, of which those from a first one on are held out."""
    names = [pair.name for pair in cache.pairs]
    split = {name: "train" if place < first else "val" for place, name in enumerate(names)}
    groups = Groups({name: name.rpartition("_")[0] for name in names}, "by hand")
    return Material(cache, Formats(), split, groups, tuple(looks_of(cache.thumbnails())))


def seen_in(material: Material) -> dict[str, Any]:
    """What a model file of a run on these pictures says of them."""
    return {**material.seen_in_training()}


def saved_again(cache: Cache, index: int, fingerprint: str) -> Cache:
    """The same pictures, one of them in another file."""
    entries = list(cache.entries)
    entries[index] = dataclasses.replace(entries[index], fingerprint=fingerprint)
    return dataclasses.replace(cache, entries=tuple(entries))


def test_what_is_held_out_by_both_is_no_leak(ellipse_cache: Cache, tmp_path: Path) -> None:
    material = holding_out(ellipse_cache, 6)
    start = start_from(tmp_path, **seen_in(material))
    assert start.leak(material, "val") == ""
    assert start.leak(material, "test") == ""
    alone = dataclasses.replace(material, groups=Groups({name: name for name in material.split}, "by hand"))
    assert start.leak(alone, "val") == ""


def test_others_of_a_group_that_the_first_model_learnt_from_are_a_leak(ellipse_cache: Cache, tmp_path: Path) -> None:
    material = holding_out(ellipse_cache, 5)
    start = start_from(tmp_path, **seen_in(material))
    words = f"LEAK: {start.path} has learnt from others of the groups of 1 of the 7 pictures of val"
    assert start.leak(material, "val") == words
    # Where the groups are others here, those of the first model count as well.
    alone = dataclasses.replace(material, groups=Groups({name: name for name in material.split}, "by hand"))
    assert start.leak(alone, "val") == ""
    by_pattern = dataclasses.replace(start, card=dataclasses.replace(start.card, group="(.*)_"))
    assert by_pattern.leak(alone, "val") == words


def test_a_group_that_a_copy_joined_to_another_is_known_by_its_own_name_too(
    ellipse_cache: Cache, tmp_path: Path
) -> None:
    names = [pair.name for pair in ellipse_cache.pairs]
    apart = holding_out(ellipse_cache, 5)
    joined = dataclasses.replace(apart, groups=merge_groups(apart.groups, [(names[1], names[2])]))
    learnt = {apart.groups.of[name] for name in names[:5]}
    assert {joined.groups.of[name] for name in names[:5]} < learnt
    assert joined.seen_in_training()["groups"] == tuple(sorted(map(print_of_group, learnt)))


def test_copies_of_what_the_first_model_learnt_from_are_a_leak(ellipse_cache: Cache, tmp_path: Path) -> None:
    start = start_from(tmp_path, **seen_in(holding_out(ellipse_cache, 6)))
    material = holding_out(saved_again(ellipse_cache, 3, "another file"), 3)
    assert start.leak(material, "val") == (
        f"LEAK: {start.path} has learnt from 2 of the 9 pictures of val and copies of 1 of them"
    )
    only_copies = holding_out(saved_again(ellipse_cache, 11, "another file"), 11)
    before = start_from(tmp_path, **seen_in(holding_out(ellipse_cache, 12)))
    words = f"LEAK: {before.path} has learnt from copies of 1 of the 1 pictures of val"
    assert before.leak(only_copies, "val") == words


def test_what_the_weights_of_the_first_model_were_chosen_on_is_no_copy(ellipse_cache: Cache, tmp_path: Path) -> None:
    seen = seen_in(holding_out(ellipse_cache, 12))
    start = start_from(tmp_path, **seen | {"chosen_on": ("another file",), "groups": ()})
    assert start.leak(holding_out(saved_again(ellipse_cache, 11, "another file"), 11), "val") == ""
