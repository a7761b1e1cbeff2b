"""Servers of tiny models, and a real browser that meets them."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from maskwright.data.drawn_cars import draw_car
from maskwright.data.labels import LabelMap
from maskwright.inference.model_file import ModelCard
from tests.browser.driving import Visitor, open_browser, serving
from tests.tiny_models import TINY, write_lively_model
from tests.tiny_pictures import an_image, write

KEY = "a-key-of-letters-and-digits-7"
CLASSES = LabelMap(
    kind="indices",
    class_names=("background", "body", "wheel"),
    values=((0,), (1,), (2,)),
    colours=((0, 0, 0), (0, 90, 200), (220, 30, 60)),
)


@pytest.fixture(scope="session", autouse=True)
def _needs_a_browser() -> None:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here; `make check-browser` installs Debian's")


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server of two classes keeps corrected masks."""
    return tmp_path_factory.mktemp("collected")


@pytest.fixture(scope="session")
def two_classes(tmp_path_factory: pytest.TempPathFactory, collected: Path) -> Iterator[str]:
    """Address of a server of foreground and background, whose threshold is 0.5."""
    model = write_lively_model(tmp_path_factory.mktemp("two") / "cars.safetensors", ModelCard(TINY, size=48))
    with serving(model, "--collect", str(collected)) as address:
        yield address


@pytest.fixture(scope="session")
def odd_threshold(tiny_model: Path) -> Iterator[str]:
    """Address of a server whose model's threshold is 0.4: it lies on a value of a soft mask and not between two."""
    with serving(tiny_model) as address:
        yield address


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that tells three classes apart."""
    folder = tmp_path_factory.mktemp("three")
    card = ModelCard(dataclasses.replace(TINY, num_classes=3), size=48, labels=CLASSES)
    with serving(write_lively_model(folder / "parts.safetensors", card), "--collect", str(folder / "kept")) as address:
        yield address


@pytest.fixture(scope="session")
def no_background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that tells two classes apart, neither of which is a background."""
    card = ModelCard(TINY, size=48, labels=LabelMap(class_names=("sky", "ground")))
    with serving(write_lively_model(tmp_path_factory.mktemp("neither") / "land.safetensors", card)) as address:
        yield address


@pytest.fixture(scope="session")
def guarded(tiny_model: Path) -> Iterator[str]:
    """Address of a server that asks for a key, and takes one small picture at a time."""
    limits = ("--max-requests", "1", "--max-megapixels", "0.1")
    with serving(tiny_model, *limits, MASKWRIGHT_API_KEY=KEY) as address:
        yield address


@pytest.fixture(scope="session")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """A browser, with the folder of its downloads."""
    with open_browser(tmp_path_factory.mktemp("downloads")) as one:
        yield one


@pytest.fixture(autouse=True)
def _clean(visitor: Visitor) -> Iterator[None]:
    """Each test begins as a wide, light and empty tab, and leaves nothing in the browser's log."""
    visitor.begin_anew()
    yield
    assert visitor.complaints() == []


@pytest.fixture(scope="session")
def car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn car, 480x320."""
    path = tmp_path_factory.mktemp("car") / "car.jpg"
    Image.fromarray(draw_car(17, 14, width=480, height=320, seed=7)[0]).save(path, quality=90)
    return path


@pytest.fixture(scope="session")
def small_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three pictures of 96x72."""
    folder = tmp_path_factory.mktemp("small")
    paths = [folder / name for name in ("one.png", "two.png", "three.jpg")]
    for seed, path in enumerate(paths):
        write(path, an_image(seed))
    return paths
