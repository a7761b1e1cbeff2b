"""What several tests need."""

import os
import resource
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from maskwright.commands.export import Exported, export
from maskwright.data.cache import Cache, build_cache
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, read_pair
from maskwright.data.resizing import Resize
from maskwright.inference.predictor import load
from maskwright.interop.openvino import write_openvino
from tests.tiny_models import write_lively_model


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs, see ../shared/data/README.md."""
    folder = os.environ.get("MASKWRIGHT_REAL_DATA")
    if not folder:
        pytest.skip("set MASKWRIGHT_REAL_DATA to the folder of real data sets to run this")
    return Path(folder)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: tiny networks wait for their threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Let the system refuse larger files, as it does on a full disk; no privilege helps against it."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.fixture
def ellipses(tmp_path: Path) -> tuple[Pair, ...]:
    """Six groups of two pictures, 64x48: a coloured ellipse on noise, and its mask of 0 and 255."""
    rng = np.random.default_rng(0)
    pairs = []
    for group in range(6):
        colour = rng.integers(160, 256, 3)
        for view in range(2):
            name = f"images/g{group}_{view}"
            pair = Pair(
                name, tmp_path / "photos" / f"{name}.png", tmp_path / "photos/masks" / f"g{group}_{view}.png", None
            )
            image = rng.integers(0, 100, (48, 64, 3))
            mask = _ellipse(48, 64, rng)
            image[mask] = colour - rng.integers(0, 40, (int(mask.sum()), 3))
            for path, pixels in ((pair.image, image), (pair.mask_path, mask * 255)):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
            pairs.append(pair)
    return tuple(pairs)


@pytest.fixture
def ellipse_cache(ellipses: tuple[Pair, ...], tmp_path: Path) -> Cache:
    """The ellipses at 32x24, decoded."""
    cache, problems = build_cache(
        ellipses,
        tmp_path / "cache",
        read=partial(read_pair, formats=Formats()),
        num_classes=2,
        settings_key="",
        resize=Resize(size=32),
        advance=lambda: None,
    )
    assert not problems
    return cache


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a few channels, at 48 pixels."""
    return write_lively_model(tmp_path_factory.mktemp("tiny") / "model.safetensors")


@pytest.fixture(scope="session")
def tiny_export(tiny_model: Path) -> Exported:
    """The same, exported to ONNX."""
    return export(tiny_model, out=tiny_model.with_suffix(".onnx"))


@pytest.fixture(scope="session")
def tiny_onnx(tiny_export: Exported) -> Path:
    """The exported file."""
    return tiny_export.path


@pytest.fixture(scope="session")
def tiny_openvino(tiny_model: Path, tiny_onnx: Path) -> Path:
    """The same for OpenVINO; skipped where it is not installed."""
    pytest.importorskip("openvino", reason="pip install '.[openvino]'")
    path = tiny_model.with_name("openvino") / "model.xml"
    write_openvino(path, tiny_onnx, load(tiny_model).card)
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests keep decoded pictures among themselves."""
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def _ellipse(height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:height, :width]
    middle = rng.uniform(0.35, 0.65, 2) * (height, width)
    radii = rng.uniform(0.2, 0.35, 2) * (height, width)
    inside: NDArray[np.bool_] = ((rows - middle[0]) / radii[0]) ** 2 + ((columns - middle[1]) / radii[1]) ** 2 <= 1
    return inside
