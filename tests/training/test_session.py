from pathlib import Path

import pytest

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import SIDE_MULTIPLE, Samples
from maskwright.data.groups import Groups
from maskwright.data.input_format import InputFormat
from maskwright.data.labels import BLACK_AND_WHITE, LabelMap
from maskwright.data.reading import Formats
from maskwright.errors import InputError
from maskwright.interop.weights import read_imagenet_weights
from maskwright.training import ranks
from maskwright.training.material import Material
from maskwright.training.run_folder import RunFolder
from maskwright.training.session import (
    Session,
    architecture_for,
    build_learner_for,
    build_training_loader,
    build_validation_loader,
)


@pytest.mark.parametrize(("classes", "width"), [(3, 8), (8, 8), (11, 16), (40, 40)])
def test_the_decoder_has_at_least_a_feature_for_each_class(classes: int, width: int) -> None:
    labels = LabelMap("names", tuple(f"class {index}" for index in range(classes)))
    architecture = architecture_for(Settings(base_channels=8), Formats(labels))
    assert (architecture.num_classes, architecture.base_channels) == (classes, width)


def test_two_classes_keep_the_width_that_was_asked_for() -> None:
    architecture = architecture_for(Settings(base_channels=24), Formats(BLACK_AND_WHITE, InputFormat(5)))
    assert (architecture.num_classes, architecture.base_channels, architecture.in_channels) == (1, 24, 5)


@pytest.mark.parametrize("weighted", [True, False])
def test_an_encoder_with_imagenet_weights_is_pretrained(weighted: bool) -> None:
    settings = Settings(encoder="efficientnet_lite0", base_channels=8)
    weights = read_imagenet_weights(settings.encoder) if weighted else None
    learner = build_learner_for(settings, settings.architecture(), "cpu", "fp32", weights)
    held = {id(parameter) for layer in learner.pretrained for parameter in layer.parameters()}
    encoder = {id(p) for name, p in learner.network.named_parameters() if name.startswith("encoder.")}
    assert held == (encoder if weighted else set())


def session_of(cache: Cache, folder: Path, settings: Settings) -> Session:
    """A run that learns from the first nine pictures."""
    names = [pair.name for pair in cache.pairs]
    split = {name: "val" if index >= 9 else "train" for index, name in enumerate(names)}
    groups = Groups({name: name for name in names}, "alone")
    material = Material(cache, Formats(BLACK_AND_WHITE), split, groups, ("",) * len(names))
    learner = build_learner_for(settings, settings.architecture(), "cpu", "fp32", None)
    return Session(material, RunFolder(folder), settings, learner, "cpu", None)


@pytest.mark.parametrize(
    ("batch_size", "advice"),
    [(4, "start 4, or say a larger --batch-size."), (16, "start 9: there are no more pictures to learn from.")],
)
def test_a_batch_for_fewer_processes_than_there_are_is_refused_with_what_helps(
    batch_size: int, advice: str, ellipse_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(ellipse_cache, tmp_path, Settings(base_channels=8, depth=1, size=32, batch_size=batch_size))
    monkeypatch.setattr(ranks, "size", lambda: 12)
    with pytest.raises(InputError, match=f"shared out to 12 processes: {advice}"):
        build_training_loader(session)


def test_what_is_added_to_a_picture_counts_where_a_network_learns_and_not_where_it_is_validated(
    ellipse_cache: Cache, tmp_path: Path
) -> None:
    session = session_of(ellipse_cache, tmp_path, Settings(base_channels=8, depth=1, size=32, batch_size=2))
    loaders = build_training_loader(session)[0], build_validation_loader(session)
    multiples = [loader.dataset.counted_multiple for loader in loaders if isinstance(loader.dataset, Samples)]
    assert multiples == [SIDE_MULTIPLE, 1]
