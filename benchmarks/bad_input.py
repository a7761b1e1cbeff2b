"""What a user reads when the pictures cannot be used: sentence and exit code of each case.

    python benchmarks/bad_input.py > benchmarks/results/bad_input.txt

The pictures are drawn; the same cases are tests (`tests/test_cli.py`).
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from maskwright.data.drawn_cars import write_drawn_cars


def empty_folder(photos: Path) -> None:
    """An empty folder."""
    shutil.rmtree(photos)
    photos.mkdir()


def image_without_mask(photos: Path) -> None:
    """An image without a mask."""
    _a_mask(photos).unlink()


def two_masks(photos: Path) -> None:
    """Two masks of equal stem for one image."""
    shutil.copy(_a_mask(photos), _a_mask(photos).with_suffix(".bmp"))


def truncated_jpeg(photos: Path) -> None:
    """A truncated JPEG."""
    content = _an_image(photos).read_bytes()
    _an_image(photos).write_bytes(content[: len(content) // 2])


def text_named_png(photos: Path) -> None:
    """A text file named .png."""
    _a_mask(photos).write_text("no picture")


def mask_of_another_shape(photos: Path) -> None:
    """A mask of another aspect ratio."""
    with Image.open(_a_mask(photos)) as mask:
        mask.resize((64, 64)).save(_a_mask(photos))


CASES: tuple[Callable[[Path], None], ...] = (
    empty_folder,
    image_without_mask,
    two_masks,
    truncated_jpeg,
    text_named_png,
    mask_of_another_shape,
)


def main() -> None:
    """Spoil a fresh data set in each way and show what `train` says."""
    for spoil in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            photos = Path(scratch) / "photos"
            list(write_drawn_cars(photos, cars=6, views=2, width=96, height=64))
            spoil(photos)
            command = [sys.executable, "-m", "maskwright", "train", "photos", "--epochs", "1"]
            result = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        print(f"{spoil.__doc__} Exit code {result.returncode}.")
        for line in (result.stdout + result.stderr).strip().splitlines():
            print(f"    {line}")
        print()


def _an_image(photos: Path) -> Path:
    return min((photos / "train").iterdir())


def _a_mask(photos: Path) -> Path:
    return min((photos / "train_masks").iterdir())


if __name__ == "__main__":
    main()
