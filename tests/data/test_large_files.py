import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.image_files import read_pixels
from maskwright.data.large_files import open_large, write_large_mask
from maskwright.data.readers import npy, refusals, tiff
from maskwright.errors import InputError, MissingExtraError

LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (64, 64)},
    "compressed tiles that are not square": {"tile": (32, 80), "compression": "zlib", "predictor": True},
    "strips": {"rowsperstrip": 37},
    "compressed strips": {"rowsperstrip": 20, "compression": "zlib"},
    "one strip": {},
    "planes apart": {"planarconfig": "separate", "tile": (64, 64), "compression": "zlib"},
    "wide offsets in another byte order": {"bigtiff": True, "byteorder": ">", "tile": (64, 64)},
}


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (101, 157, 3), dtype=np.uint8)


def whole(path: Path) -> NDArray[Any]:
    return np.concatenate(list(open_large(path).bands()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_are_what_is_read_as_a_whole(
    layout: str, dtype: type[np.unsignedinteger[Any]], image: NDArray[np.uint8], tmp_path: Path
) -> None:
    path, options = tmp_path / "a.tif", LAYOUTS[layout]
    pixels = image.astype(dtype)
    stored = pixels.transpose(2, 0, 1) if "planarconfig" in options else pixels
    tifffile.imwrite(path, stored, photometric="rgb", **options)
    found = open_large(path)
    assert (found.height, found.width) == (101, 157)
    assert np.array_equal(whole(path), pixels)
    assert np.array_equal(read_pixels(path), pixels)


def test_a_band_is_a_row_of_tiles(image: NDArray[np.uint8], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(32, 32))
    assert [len(band) for band in open_large(tmp_path / "a.tif").bands()] == [32, 32, 32, 5]


def test_alpha_is_dropped_and_grey_is_one_channel(image: NDArray[np.uint8], tmp_path: Path) -> None:
    with_alpha = np.concatenate([image, image[..., :1]], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", with_alpha, photometric="rgb", extrasamples=["unassalpha"], tile=(64, 64))
    assert np.array_equal(whole(tmp_path / "a.tif"), image)
    tifffile.imwrite(tmp_path / "g.tif", image[..., 0], tile=(64, 64))
    assert np.array_equal(whole(tmp_path / "g.tif"), image[..., :1])


def test_tiles_that_are_not_stored_are_zeros(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", shape=(100, 90, 3), dtype=np.uint8, tile=(32, 32), photometric="rgb")
    assert np.array_equal(whole(tmp_path / "a.tif"), np.zeros((100, 90, 3)))


@pytest.mark.parametrize("is_channels_first", [False, True])
def test_arrays_of_numpy_come_in_bands(
    is_channels_first: bool, image: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy, "BAND_BYTES", 5000)
    np.save(tmp_path / "a.npy", image.transpose(2, 0, 1) if is_channels_first else image)
    assert np.array_equal(whole(tmp_path / "a.npy"), image)
    assert len(list(open_large(tmp_path / "a.npy").bands())) > 5


def test_the_limits_hold_for_a_band_alone(
    image: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "tiles.tif", image, photometric="rgb", tile=(16, 16))
    tifffile.imwrite(tmp_path / "strip.tif", image, photometric="rgb")
    for module in (refusals, tiff):
        monkeypatch.setattr(module, "MOST_BYTES", image.nbytes // 2)
    monkeypatch.setattr(refusals, "MOST_PIXELS", 1000)
    with pytest.raises(InputError, match=r"tiles\.tif .*--large"):
        read_pixels(tmp_path / "tiles.tif")
    assert np.array_equal(whole(tmp_path / "tiles.tif"), image)
    with pytest.raises(InputError, match=r"strip\.tif is stored in strips of 0 MB; save it in tiles"):
        open_large(tmp_path / "strip.tif")


def test_what_can_only_be_read_as_a_whole_is_refused(image: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(image).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png can only be read as a whole; save it as a TIFF file in tiles"):
        open_large(tmp_path / "a.png")


def test_a_picture_that_is_stored_turned_is_refused(image: NDArray[np.uint8], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 64), extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(InputError, match="stored turned"):
        open_large(tmp_path / "a.tif")


def test_a_file_cut_short_is_one_sentence(image: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", tile=(32, 32), compression="zlib")
    whole_file = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[-1]
    path.write_bytes(whole_file[: offset + 5] + bytes(len(whole_file) - offset - 5))
    with pytest.raises(InputError, match=r"a\.tif is damaged"):
        whole(path)


def test_a_tile_that_unpacks_to_more_than_its_size_is_refused(image: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((512, 512, 3), np.uint8), photometric="rgb", tile=(512, 512), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileWidth", "TileLength", "ImageWidth", "ImageLength"):
            file.pages.first.tags[name].overwrite(16)
    with pytest.raises(InputError, match="unpacks to more than it claims"):
        whole(path)


# --- Masks


def test_a_mask_comes_back_as_it_was_written(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (700, 1100), dtype=np.uint8)
    path = tmp_path / "out" / "mask.tif"
    write_large_mask(path, iter([mask[:1], mask[1:600], mask[600:]]), 700, 1100)
    assert np.array_equal(np.asarray(Image.open(path)), mask)
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.is_tiled
        assert file.pages.first.compression == 8


def test_a_mask_of_classes_has_their_colours(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 1]], np.uint8)
    palette = np.array([[0, 0, 0], [255, 10, 20], [0, 200, 100]], np.uint8)
    write_large_mask(tmp_path / "m.tif", [mask], 2, 2, palette=palette)
    picture = Image.open(tmp_path / "m.tif")
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), mask)
    assert np.array_equal(np.asarray(picture.convert("RGB")), palette[mask])


def test_a_mask_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Any:
        yield np.zeros((600, 600), np.uint8)
        raise InputError("The picture ends here.")

    with pytest.raises(InputError, match="ends here"):
        write_large_mask(tmp_path / "m.tif", failing(), 1200, 600)
    assert list(tmp_path.iterdir()) == []


def test_without_tifffile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"\.\[tiff\]"):
        write_large_mask(tmp_path / "m.tif", [], 1, 1)
