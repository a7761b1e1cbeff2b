"""The public names: what they are, and that each one loads."""

import maskwright


def test_public_names_are_these() -> None:
    assert maskwright.__all__ == sorted(maskwright.__all__)
    assert set(maskwright.__all__) == {
        "EncoderUNet",
        "InputError",
        "Predictor",
        "Settings",
        "UNet",
        "check",
        "cross_validate",
        "evaluate",
        "export",
        "import_weights",
        "load",
        "plan",
        "predict",
        "read_preset",
        "train",
    }


def test_every_public_name_loads_and_is_documented() -> None:
    for name in maskwright.__all__:
        assert getattr(maskwright, name).__doc__, name


def test_dir_lists_the_public_names() -> None:
    assert dir(maskwright) == sorted(maskwright.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(maskwright, "Trainer")
