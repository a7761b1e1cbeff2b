import pytest

from maskwright.config import Settings
from maskwright.data.input_format import InputFormat
from maskwright.data.labels import BLACK_AND_WHITE, LabelMap
from maskwright.data.reading import Formats
from maskwright.interop.weights import read_imagenet_weights
from maskwright.training.session import architecture_for, build_learner_for


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
