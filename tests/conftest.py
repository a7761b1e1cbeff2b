"""What several tests need.

What imports torch is imported where it is needed: the process that deals files out to the others starts seconds sooner.
"""

import dataclasses
import fcntl
import gc
import importlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.commands.export import Exported, export
from maskwright.data.cache import Cache, CacheFolder, build_cache
from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, read_pair
from maskwright.data.resizing import Resize
from maskwright.inference.predictor import load
from maskwright.interop.parity import Agreement

# Files that take longest, with what others wait for before all. `make test` deals files out in this order.
LONGEST = (
    "commands/test_export.py",
    "test_docs.py",
    "commands/test_train.py",
    "scale/test_ray_runner.py",
    "training/test_ranks.py",
    "commands/test_killed.py",
    "training/test_loop.py",
    "commands/test_faults.py",
    "commands/test_train_together.py",
    "models/test_contract.py",
    "models/test_lean.py",
    "test_cli.py",
    "commands/test_serve.py",
    "commands/test_cross_validate.py",
    "commands/test_original.py",
    "test_hostile_corpus.py",
    "commands/test_plan.py",
    "evaluation/pages/test_report.py",
    "training/test_memory_plan.py",
    "training/test_out_of_memory.py",
    "interop/test_tracing.py",
    "training/test_promise.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, or one would keep a process busy when the others have nothing left to do."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what has been imported; each run calls it, and it takes half a second.

    The first run in a process would import the rest: optimizers import torch's compiler, and curves are drawn.
    """
    for name in ("matplotlib.figure", "torch._dynamo"):
        importlib.import_module(name)
    gc.freeze()


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
    import torch

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


@pytest.fixture(scope="session")
def drawn_ellipses(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """The ellipses at 32x24, decoded. Each test has a copy of its own, since copying takes less long than drawing."""
    folder = tmp_path_factory.mktemp("ellipses")
    rng = np.random.default_rng(0)
    pairs = ellipse_pairs(folder)
    for group in range(0, len(pairs), 2):
        colour = rng.integers(160, 256, 3)
        for pair in pairs[group : group + 2]:
            image = rng.integers(0, 100, (48, 64, 3))
            mask = _ellipse(48, 64, rng)
            image[mask] = colour - rng.integers(0, 40, (int(mask.sum()), 3))
            for path, pixels in ((pair.image, image), (pair.mask_path, mask * 255)):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    cache, problems = build_cache(
        pairs,
        CacheFolder(folder / "cache"),
        read=partial(read_pair, formats=Formats()),
        num_classes=2,
        settings_key="",
        resize=Resize(size=32),
        advance=lambda: None,
    )
    assert not problems
    return cache


def ellipse_pairs(folder: Path) -> tuple[Pair, ...]:
    """How the ellipses are called below a folder."""
    names = [f"g{group}_{view}" for group in range(6) for view in range(2)]
    photos = folder / "photos"
    return tuple(
        Pair(f"images/{name}", photos / f"images/{name}.png", photos / f"masks/{name}.png", None) for name in names
    )


@pytest.fixture
def ellipses(drawn_ellipses: Cache, tmp_path: Path) -> tuple[Pair, ...]:
    """Six groups of two pictures, 64x48: a coloured ellipse on noise, and its mask of 0 and 255."""
    shutil.copytree(drawn_ellipses.pairs[0].image.parents[1], tmp_path / "photos")
    return ellipse_pairs(tmp_path)


@pytest.fixture
def ellipse_cache(ellipses: tuple[Pair, ...], drawn_ellipses: Cache, tmp_path: Path) -> Cache:
    """The ellipses at 32x24, decoded."""
    (tmp_path / "cache").mkdir()
    decoded = [entry.path for entry in drawn_ellipses.entries if entry.path is not None]
    copies = [Path(shutil.copy(path, tmp_path / "cache")) for path in decoded]
    entries = zip(drawn_ellipses.entries, copies, strict=True)
    return dataclasses.replace(
        drawn_ellipses,
        pairs=ellipses,
        entries=tuple(dataclasses.replace(entry, path=path) for entry, path in entries),
    )


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all processes that run these tests together; each has its own temporary files in it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def drawn_cars(common_folder: Path) -> Path:
    """Six cars, two views each, 96x64; who spoils any makes a copy first."""
    folder = common_folder / "drawn"
    with one_process_at_a_time(folder):
        if not folder.exists():
            list(write_drawn_cars(folder, cars=6, views=2, width=96, height=64))
    return folder


@pytest.fixture(scope="session")
def tiny_model(common_folder: Path) -> Path:
    """A model file of a few channels, at 48 pixels."""
    from tests.tiny_models import write_lively_model

    path = common_folder / "tiny" / "model.safetensors"
    with one_process_at_a_time(path.parent):
        return path if path.exists() else write_lively_model(path)


@pytest.fixture(scope="session")
def tiny_export(tiny_model: Path, common_folder: Path) -> Exported:
    """The same, exported to ONNX: once for all processes, since it takes long."""
    path, kept = tiny_model.with_suffix(".onnx"), common_folder / "export.json"
    with one_process_at_a_time(kept):
        if not kept.exists():
            found = export(tiny_model, out=path).agreements
            kept.write_text(json.dumps([dataclasses.asdict(agreement) for agreement in found]))
        return Exported(path, tuple(Agreement(**agreement) for agreement in json.loads(kept.read_text())))


@pytest.fixture(scope="session")
def tiny_onnx(tiny_export: Exported) -> Path:
    """The exported file."""
    return tiny_export.path


@pytest.fixture(scope="session")
def tiny_openvino(tiny_model: Path, tiny_onnx: Path, common_folder: Path) -> Path:
    """The same for OpenVINO; skipped where it is not installed."""
    if find_spec("openvino") is None:
        pytest.skip("pip install '.[openvino]'")
    from maskwright.interop.openvino import write_openvino

    path = tiny_model.with_name("openvino") / "model.xml"
    with one_process_at_a_time(common_folder / "openvino"):
        if not path.exists():
            write_openvino(path, tiny_onnx, load(tiny_model).card)
        return path


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep decoded pictures among themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKWRIGHT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@contextmanager
def one_process_at_a_time(path: Path) -> Iterator[None]:
    """Let others wait that want to make the same thing in the common folder."""
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ellipse(height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:height, :width]
    middle = rng.uniform(0.35, 0.65, 2) * (height, width)
    radii = rng.uniform(0.2, 0.35, 2) * (height, width)
    inside: NDArray[np.bool_] = ((rows - middle[0]) / radii[0]) ** 2 + ((columns - middle[1]) / radii[1]) ** 2 <= 1
    return inside
