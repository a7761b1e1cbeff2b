"""The page's pictures in the README, the picture that visitors can try, and the report to look at, made again.

    maskwright demo --out cars
    python -m tests.browser.pictures cars

The model and the report are those of the demo; the page's cars are drawn, and none that the model has learnt from.
"""

import io
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from maskwright.data.drawn_cars import draw_car
from tests.browser.driving import Visitor, open_browser, serving

ROOT = Path(__file__).parents[2]
SEED = 7
SAMPLE = (17, 14)
OTHERS = ((7, 5), (15, 5))


def main(demo: Path) -> None:
    """Write all of them, from the folder of a demo."""
    write_car(ROOT / "src/maskwright/serving/page/sample.jpg", SAMPLE)
    with TemporaryDirectory() as folder:
        cars = [Path(folder) / f"car-{number}.jpg" for number in range(1, 2 + len(OTHERS))]
        for path, car in zip(cars, (SAMPLE, *OTHERS), strict=True):
            write_car(path, car)
        model, collected = demo / "run" / "model.safetensors", f"{folder}/collected"
        with serving(model, "--collect", collected) as address, open_browser(Path(folder)) as visitor:
            show_desk(visitor, address, cars)
            show_phone(visitor, address, cars)
            show_report(visitor, demo / "evaluation" / "report.html")


def show_desk(visitor: Visitor, address: str, cars: list[Path]) -> None:
    """The overlay on a wide and light screen."""
    visitor.resize(1080, 730)
    visitor.prefer("light")
    visitor.visit(address)
    visitor.choose(*cars)
    take(visitor, "page.png")


def show_phone(visitor: Visitor, address: str, cars: list[Path]) -> None:
    """A new background on a phone in the dark."""
    visitor.resize(390, 720, is_phone=True)
    visitor.prefer("dark")
    visitor.visit(address)
    visitor.choose(*cars[1:3])
    visitor.click("[name=view][value=background]")
    visitor.set("#background-colour", "#274b66")
    visitor.run("scrollTo(0, 0); document.activeElement.blur()")
    visitor.until("document.getElementById('stage').dataset.edges === 'clean'")
    take(visitor, "page-phone.png")


def show_report(visitor: Visitor, report: Path) -> None:
    """The upper half of a report, and the report itself."""
    visitor.resize(1080, 1570)
    visitor.prefer("light")
    visitor.driver.get(report.resolve().as_uri())
    take(visitor, "report.png", width=800)
    shutil.copyfile(report, ROOT / "docs" / "report-example.html")


def write_car(path: Path, car: tuple[int, int]) -> None:
    """A car of that number, in that view."""
    image, _ = draw_car(*car, width=1080, height=720, seed=SEED)
    Image.fromarray(image).save(path, quality=82, optimize=True, progressive=True)


def take(visitor: Visitor, name: str, *, width: int | None = None) -> None:
    """A picture of the window, its colours in steps of four: two thirds of the bytes, and not to be told apart."""
    visitor.until_drawn()
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(exist_ok=True)
    steps = [min(255, 4 * round(value / 4)) for value in range(256)]
    with Image.open(io.BytesIO(visitor.driver.get_screenshot_as_png())) as window:
        picture = window.convert("RGB")
    if width is not None:
        picture = picture.resize((width, round(width * picture.height / picture.width)), Image.Resampling.LANCZOS)
    picture.point(steps * 3).save(folder / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
