import pytest

from maskwright.config import Settings
from maskwright.data.resizing import Resize, resize_for


def test_a_factor_shrinks_each_side_and_leaves_a_pixel() -> None:
    half = Resize(factor=0.5)
    assert half.shape_of(301, 407) == (150, 204)
    assert half.shape_of(1, 800) == (1, 400)
    assert Resize(factor=1.0).shape_of(301, 407) == (301, 407)


@pytest.mark.parametrize("both", [{}, {"size": 64, "factor": 0.5}])
def test_pictures_have_one_size(both: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either size or factor"):
        Resize(**both)  # type: ignore[arg-type]


def test_a_run_resizes_as_its_settings_say() -> None:
    assert resize_for(Settings(size=384)) == Resize(size=384)
    assert resize_for(Settings(factor=0.25)) == Resize(factor=0.25)


def test_how_pictures_are_resized_is_said() -> None:
    assert Resize(size=384).in_words() == "longer side 384"
    assert Resize(factor=0.25).in_words() == "0.25 of their own size"
