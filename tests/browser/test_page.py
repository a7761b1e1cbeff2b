"""The page in a real browser, against a real server, as visitors use it."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from maskwright.config import MaskSettings
from maskwright.data.finding import find_dataset
from maskwright.data.label_survey import read_options
from maskwright.data.reading import choose_formats, read_pair
from tests.browser.conftest import KEY
from tests.browser.driving import Visitor, ask, occupying, pixels_of
from tests.tiny_pictures import an_image, write

pytestmark = pytest.mark.browser

WRONG_KEY = "another-key-of-letters-2"


# Pictures in


def test_a_chosen_picture_gets_its_mask(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    assert visitor.one("#work").is_displayed()
    assert not visitor.one("#start").is_displayed()
    assert visitor.said().startswith("car.jpg: foreground ")
    assert visitor.one("#original").accessible_name == "car.jpg with its mask"
    shares = visitor.shown()[..., 3]
    assert set(np.unique(shares[shares.shape[0] // 2])) >= {0, 115}  # 45 % of 255 where there is foreground


def test_the_sample_needs_nothing_but_the_server(visitor: Visitor, two_classes: str) -> None:
    visitor.visit(two_classes)
    visitor.click("#sample")
    visitor.until_ready(1)
    asked = visitor.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert [name for name in asked if not name.startswith((two_classes, "blob:"))] == []


def test_pictures_can_be_pasted_and_dropped(visitor: Visitor, two_classes: str, small_pictures: list[Path]) -> None:
    visitor.visit(two_classes)
    make = (
        "const canvas = document.createElement('canvas'); canvas.width = canvas.height = 24;"
        "const blob = await new Promise((made) => canvas.toBlob(made)); const data = new DataTransfer();"
        "data.items.add(new File([blob], arguments[0], { type: 'image/png' }));"
    )
    visitor.compute(
        f"{make} document.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: data }}))", "image.png"
    )
    visitor.until_ready(1)
    visitor.compute(f"{make} document.dispatchEvent(new DragEvent('dragenter', {{ dataTransfer: data }}))", "image.png")
    assert visitor.one("#drop-here").is_displayed()
    visitor.compute(
        f"{make} document.dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, cancelable: true }}))", "image.png"
    )
    visitor.until_ready(2)
    assert not visitor.one("#drop-here").is_displayed()
    assert [name.text for name in visitor.all("#gallery .name")] == ["image.png", "image-2.png"]


def test_several_pictures_stand_in_a_gallery(visitor: Visitor, two_classes: str, small_pictures: list[Path]) -> None:
    visitor.visit(two_classes)
    visitor.choose(*small_pictures)
    tiles = visitor.all("#gallery .tile")
    assert [tile.get_attribute("aria-current") for tile in tiles] == ["true", None, None]
    tiles[1].click()
    visitor.until_said("two.png: foreground")
    assert visitor.one("#gallery [aria-current=true] .name").text == "two.png"
    visitor.click("[aria-label='Remove two.png']")
    visitor.until_said("three.jpg: foreground")
    assert [name.text for name in visitor.all("#gallery .name")] == ["one.png", "three.jpg"]
    for name in ("three.jpg", "one.png"):
        visitor.click(f"[aria-label='Remove {name}']")
    assert visitor.one("#start").is_displayed()


def test_a_file_that_is_no_picture_is_said_to_be_none(
    visitor: Visitor, two_classes: str, car: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.one("#more").send_keys(str(broken))
    visitor.until_said("broken.png is a file that this browser cannot show")
    assert not visitor.shown().any()  # nothing of the picture before it
    assert visitor.one("#notice").text == visitor.said()
    assert visitor.one("#again").is_displayed()
    assert visitor.one("#download-mask").get_attribute("disabled")
    assert visitor.one("#classes .share").text == ""
    with zipfile.ZipFile(visitor.download("#download-all", "masks.zip")) as archive:
        assert archive.namelist() == ["car_mask.png"]


def test_what_is_no_picture_is_refused_before_there_is_any(visitor: Visitor, two_classes: str, tmp_path: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("no picture", encoding="utf-8")
    visitor.visit(two_classes)
    visitor.one("#choose").send_keys(str(text))
    visitor.until("document.getElementById('finds').textContent.startsWith('There was no picture in that')")
    assert visitor.one("#start").is_displayed()


# What is seen


def test_the_compare_slider_follows_keys_and_the_pointer(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.run("document.getElementById('compare').focus()")
    visitor.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    clip = "return getComputedStyle(document.getElementById('result')).clipPath"
    assert visitor.run(clip) == "inset(0px 0px 0px 48%)"
    assert visitor.one("#compare").get_attribute("aria-valuetext") == "original on the left 48 %"
    visitor.drag((0.5, 0.2), (0.8, 0.2))
    assert visitor.run(clip) == "inset(0px 0px 0px 80%)"


def test_threshold_and_strength_ask_the_server_nothing(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    before, asked = visitor.shown(), visitor.requests()
    share = visitor.one("#classes .share").text
    visitor.set("#threshold", 40)
    lower = visitor.shown()
    assert (lower[..., 3] > 0).sum() > (before[..., 3] > 0).sum()
    assert visitor.one("#classes .share").text != share
    assert visitor.one("#threshold-said").text == "0.155"
    visitor.set("#strength", 90)
    assert visitor.shown()[..., 3].max() == 255
    visitor.click("[name=view][value=mask]")
    assert (visitor.shown()[..., 3] == 255).all()
    visitor.click("#threshold-own")
    assert visitor.one("#threshold-said").text == "0.50, the model’s own"
    assert visitor.requests() == asked


def test_only_what_shows_is_computed_of_a_large_picture(visitor: Visitor, two_classes: str, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    Image.effect_mandelbrot((4000, 3000), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(large, quality=80)
    visitor.visit(two_classes)
    visitor.choose(large)
    assert visitor.shown().shape[1] < 1000
    for _ in range(4):
        visitor.click("#zoom-in")
    assert visitor.one("#zoom").text == "506 %"
    assert visitor.shown().shape[1] < 1000
    expected = pixels_of(ask(two_classes, large, "output=mask"))
    assert np.array_equal(pixels_of(visitor.download("#download-mask", "large_mask.png")), expected)


def test_classes_have_a_legend_and_no_threshold(visitor: Visitor, three_classes: str, car: Path) -> None:
    visitor.visit(three_classes)
    visitor.choose(car)
    rows = visitor.all("#classes li")
    assert [row.text.split("\n")[0] for row in rows] == ["background", "body", "wheel"]
    assert not visitor.one("#threshold-field").is_displayed()
    expected = pixels_of(ask(three_classes, car, "output=mask"))
    shares = [round(100 * float((expected == index).mean())) for index in range(3)]
    assert [round(float(row.text.split("\n")[1].removesuffix(" %"))) for row in rows] == shares
    found = [(share, name) for share, name in zip(shares[1:], ["body", "wheel"], strict=True) if share]
    assert re.findall("body|wheel", visitor.said()) == [name for _, name in sorted(found, reverse=True)]
    before = visitor.shown()
    visitor.all("#classes input[type=checkbox]")[1 + int(np.argmax(shares[1:]))].click()
    assert (visitor.shown()[..., 3] > 0).sum() < (before[..., 3] > 0).sum()


def test_two_classes_without_a_background_have_a_colour_each(visitor: Visitor, no_background: str, car: Path) -> None:
    visitor.visit(no_background)
    visitor.choose(car)
    colours = [choice.get_attribute("value") for choice in visitor.all("#classes input[type=color]")]
    assert colours == ["#e69f00", "#56b4e9"]
    red, _, blue, _ = np.moveaxis(visitor.shown(), 2, 0).astype(int)
    assert (red > blue).any()  # the orange of the sky
    assert (blue > red).any()  # the blue of the ground


# Files out


@pytest.mark.parametrize(("level", "threshold"), [(None, "0.5"), (1, None), (60, None), (200, None), (255, None)])
def test_the_mask_that_is_downloaded_equals_the_servers(
    level: int | None, threshold: str | None, visitor: Visitor, two_classes: str, car: Path
) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    if level is not None:
        visitor.set("#threshold", level)
        threshold = f"{(level - 0.5) / 255}"
    expected = pixels_of(ask(two_classes, car, f"output=mask&threshold={threshold}"))
    mine = visitor.download("#download-mask", "car_mask.png")
    with Image.open(mine) as image:
        assert image.mode == "L"
    assert set(np.unique(expected)) <= {0, 255}
    assert np.array_equal(pixels_of(mine), expected)


def test_a_threshold_that_is_a_value_of_soft_masks_is_met_exactly(
    visitor: Visitor, odd_threshold: str, car: Path
) -> None:
    visitor.visit(odd_threshold)
    visitor.choose(car)
    assert visitor.one("#threshold-said").text == "0.40, the model’s own"
    own = pixels_of(ask(odd_threshold, car, "output=mask"))
    assert np.array_equal(pixels_of(visitor.download("#download-mask", "car_mask.png")), own)
    level = int(visitor.one("#threshold").get_attribute("value") or 0)
    for other in (level - 1, level + 1):
        visitor.set("#threshold", other)
        expected = pixels_of(ask(odd_threshold, car, f"output=mask&threshold={(other - 0.5) / 255}"))
        (visitor.downloads / "car_mask.png").unlink()
        assert np.array_equal(pixels_of(visitor.download("#download-mask", "car_mask.png")), expected)


def test_making_values_agree_at_one_level_changes_no_other(visitor: Visitor, two_classes: str) -> None:
    visitor.visit(two_classes)
    wrong = visitor.compute(
        "const { agree } = await import('/mask.js'); const wrong = [];"
        "for (let level = 1; level < 256; level++) for (let value = level - 1; value <= level; value++)"
        "  for (const mask of [0, 255]) { const soft = Uint8Array.of(value); agree(soft, [mask], level);"
        "    for (let other = 1; other < 256; other++) {"
        "      const expected = other === level ? mask > 0 : value >= other;"
        "      if ((soft[0] >= other) !== expected) wrong.push([level, value, mask, other]); } }"
        "return wrong;"
    )
    assert wrong == []


def test_masks_of_classes_are_indices_with_the_servers_palette(visitor: Visitor, three_classes: str, car: Path) -> None:
    visitor.visit(three_classes)
    visitor.choose(car)
    mine = visitor.download("#download-mask", "car_mask.png")
    theirs = ask(three_classes, car, "output=mask")
    assert np.array_equal(pixels_of(mine), pixels_of(theirs))
    with Image.open(mine) as image:
        assert image.mode == "P"
        assert (image.getpalette() or [])[:9] == [0, 0, 0, 0, 90, 200, 220, 30, 60]


def test_a_photograph_on_its_side_stands_upright(visitor: Visitor, two_classes: str, car: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    with Image.open(car) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # its top is at the right
        image.save(turned, exif=exif)
    visitor.visit(two_classes)
    visitor.choose(turned)
    mine = pixels_of(visitor.download("#download-mask", "turned_mask.png"))
    assert mine.shape == (480, 320)
    assert np.array_equal(mine, pixels_of(ask(two_classes, turned, "output=mask")))


def test_the_cutout_is_the_servers_own_file(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    mine = visitor.download("#download-cutout", "car_cutout.png")
    assert mine.read_bytes() == ask(two_classes, car, "output=cutout")


def test_a_new_background_shows_through_the_cutout(
    visitor: Visitor, two_classes: str, car: Path, small_pictures: list[Path]
) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.click("[name=view][value=background]")
    visitor.set("#background-colour", "#2060c0")
    cutout = pixels_of(ask(two_classes, car, "output=cutout")).astype(float)
    share = cutout[..., 3:] / 255
    expected = cutout[..., :3] * share + np.array((0x20, 0x60, 0xC0)) * (1 - share)
    mine = pixels_of(visitor.download("#download-background", "car_background.png"))
    assert np.abs(mine[..., :3] - expected).max() <= 2
    (visitor.downloads / "car_background.png").unlink()
    visitor.one("#background-picture").send_keys(str(small_pictures[0]))
    visitor.until("document.getElementById('background-picture').value === ''")
    visitor.until_drawn()
    behind = pixels_of(visitor.download("#download-background", "car_background.png"))
    empty = cutout[..., 3] == 0
    assert np.abs(behind[..., :3][empty].astype(float) - mine[..., :3][empty]).mean() > 20


def test_all_masks_come_as_one_archive(visitor: Visitor, two_classes: str, small_pictures: list[Path]) -> None:
    visitor.visit(two_classes)
    visitor.choose(*small_pictures)
    with zipfile.ZipFile(visitor.download("#download-all", "masks.zip")) as archive:
        assert sorted(archive.namelist()) == ["one_mask.png", "three_mask.png", "two_mask.png"]
        for picture in small_pictures:
            mine = pixels_of(archive.read(f"{picture.stem}_mask.png"))
            assert np.array_equal(mine, pixels_of(ask(two_classes, picture, "output=mask")))


def test_pictures_that_differ_in_their_suffix_have_masks_of_their_own(
    visitor: Visitor, two_classes: str, tmp_path: Path
) -> None:
    pictures = [tmp_path / "one.png", tmp_path / "one.jpg"]
    for seed, path in enumerate(pictures):
        write(path, an_image(seed))
    visitor.visit(two_classes)
    visitor.choose(*pictures)
    assert [name.text for name in visitor.all("#gallery .name")] == ["one.png", "one-2.jpg"]
    with zipfile.ZipFile(visitor.download("#download-all", "masks.zip")) as archive:
        assert sorted(archive.namelist()) == ["one-2_mask.png", "one_mask.png"]
        for picture, name in zip(pictures, ("one_mask.png", "one-2_mask.png"), strict=True):
            mine = pixels_of(archive.read(name))
            assert np.array_equal(mine, pixels_of(ask(two_classes, picture, "output=mask")))


# Corrections


def test_corrections_are_kept_as_a_folder_to_train_on(
    visitor: Visitor, two_classes: str, car: Path, collected: Path
) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.click("#brush")
    visitor.drag((0.2, 0.3), (0.6, 0.3), (0.6, 0.6))
    visitor.all("#paints input")[1].click()
    visitor.drag((0.3, 0.8), (0.7, 0.8))
    assert visitor.one("#gallery .state").text == "corrected"
    visitor.click("#save")
    visitor.until_said("Saved as images/car")
    mask = pixels_of(visitor.download("#download-mask", "car_mask.png"))
    before = pixels_of(ask(two_classes, car, "output=mask"))
    assert mask[96, 192] == 255
    assert mask[256, 240] == 0
    assert 0 < (mask != before).mean() < 0.2

    pairing = find_dataset(collected)
    formats, _ = choose_formats(pairing.pairs, read_options(MaskSettings(), pairing.classes), advance=lambda: None)
    pair = next(pair for pair in pairing.pairs if pair.image.read_bytes() == car.read_bytes())
    image, classes = read_pair(pair, formats)
    assert pairing.problems == ()
    assert image.shape == (320, 480, 3)
    assert np.array_equal(classes * 255, mask)


def test_corrections_of_classes_are_kept_as_their_indices(visitor: Visitor, three_classes: str, car: Path) -> None:
    visitor.visit(three_classes)
    visitor.choose(car)
    visitor.click("#brush")
    assert [choice.text for choice in visitor.all("#paints label")] == ["background", "body", "wheel"]
    assert visitor.one("#paints input:checked + span").text == "body"
    visitor.all("#paints input")[2].click()
    visitor.drag((0.2, 0.3), (0.6, 0.3))
    mask = pixels_of(visitor.download("#download-mask", "car_mask.png"))
    assert (mask[96, 100:280] == 2).all()
    visitor.click("#save")
    visitor.until_said("Saved as images/car")


def test_corrections_of_two_classes_without_a_background_go_by_their_names(
    visitor: Visitor, no_background: str, car: Path
) -> None:
    visitor.visit(no_background)
    visitor.choose(car)
    visitor.click("#brush")
    assert [choice.text for choice in visitor.all("#paints label")] == ["sky", "ground"]
    assert visitor.one("#paints input:checked + span").text == "ground"
    visitor.drag((0.2, 0.3), (0.6, 0.3))
    visitor.all("#paints input")[0].click()
    visitor.drag((0.2, 0.7), (0.6, 0.7))
    mask = pixels_of(visitor.download("#download-mask", "car_mask.png"))
    assert (mask[96, 100:280] == 255).all()
    assert (mask[224, 100:280] == 0).all()


def test_strokes_are_undone_and_done_again(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.click("#brush")
    before = visitor.shown()
    visitor.all("#paints input")[1].click()
    visitor.drag((0.1, 0.5), (0.9, 0.5))
    painted = visitor.shown()
    assert (painted != before).any()
    visitor.press_with_control("z")
    assert np.array_equal(visitor.shown(), before)
    visitor.click("#redo")
    assert np.array_equal(visitor.shown(), painted)
    visitor.click("#start-over")
    visitor.until_said("The mask is the model’s again.")
    assert np.array_equal(visitor.shown(), before)
    assert visitor.one("#undo").get_attribute("disabled")


def test_an_undo_while_the_brush_is_down_takes_back_that_stroke(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.click("#brush")
    visitor.all("#paints input")[1].click()
    before = visitor.shown()
    visitor.drag((0.1, 0.5), (0.9, 0.5))
    painted = visitor.shown()
    visitor.all("#paints input")[0].click()
    visitor.run("document.getElementById('original').focus()")
    visitor.press(Keys.ENTER, *[Keys.ARROW_DOWN] * 3)
    assert (visitor.shown() != painted).any()
    visitor.press_with_control("z")
    assert np.array_equal(visitor.shown(), painted)
    visitor.press(Keys.ARROW_UP)
    assert visitor.said().startswith("At column")  # and no longer painted
    mouse = ActionChains(visitor.driver, duration=20).move_to_element(visitor.one("#stage")).click_and_hold()
    mouse.move_by_offset(0, 80).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL)
    mouse.move_by_offset(40, 0).release().perform()
    assert np.array_equal(visitor.shown(), painted)
    visitor.press_with_control("z")
    assert np.array_equal(visitor.shown(), before)


def test_keys_still_paint_after_the_mouse_has_taken_the_brush_from_them(
    visitor: Visitor, two_classes: str, car: Path
) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.click("#brush")
    visitor.all("#paints input")[1].click()
    before = visitor.shown()
    visitor.click("#original")
    visitor.press(Keys.ENTER, Keys.ARROW_DOWN)
    visitor.drag((0.1, 0.3), (0.9, 0.3))
    visitor.press(Keys.ARROW_DOWN)
    assert visitor.said().startswith("At column")
    visitor.press(Keys.ENTER, Keys.ARROW_DOWN)
    assert visitor.said().startswith("Painted at column")
    visitor.press(Keys.ENTER)
    for _ in range(4):  # of the click, of keys, of the mouse and of keys again
        assert visitor.one("#undo").is_enabled()
        visitor.click("#undo")
    assert not visitor.one("#undo").is_enabled()
    assert np.array_equal(visitor.shown(), before)


def test_what_was_painted_is_not_lost_unasked(visitor: Visitor, two_classes: str, car: Path) -> None:
    leave = (
        "const event = new Event('beforeunload', { cancelable: true }); window.dispatchEvent(event);"
        "return event.defaultPrevented"
    )
    visitor.visit(two_classes)
    visitor.choose(car)
    assert not visitor.run(leave)
    visitor.click("#brush")
    visitor.drag((0.1, 0.5), (0.9, 0.5))
    assert visitor.run(leave)
    visitor.download("#download-mask", "car_mask.png")
    assert not visitor.run(leave)


def test_keys_go_on_where_a_click_has_brought_the_focus(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.click("#brush")
    visitor.click("#original")
    assert " of the picture." in visitor.said()  # what there is of it now
    visitor.press(Keys.ARROW_LEFT)
    visitor.until_said("At column")


def test_a_corrected_mask_decides_about_the_cutout(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    theirs = pixels_of(ask(two_classes, car, "output=cutout"))
    visitor.click("#brush")
    visitor.drag((0.1, 0.3), (0.9, 0.3))
    visitor.all("#paints input")[1].click()
    visitor.drag((0.1, 0.7), (0.9, 0.7))
    mine = pixels_of(visitor.download("#download-cutout", "car_cutout.png"))
    added = (mine[..., 3] == 255) & (theirs[..., 3] == 0)
    original = pixels_of(car)
    assert added.any()
    assert np.abs(mine[added][:, :3].astype(int) - original[added]).max() <= 3
    assert (mine[224, 60:420, 3] == 0).all()
    untouched = np.r_[0:60, 130:190, 260:320]
    assert np.abs(mine[untouched].astype(int) - theirs[untouched])[..., 3].max() == 0


def test_a_threshold_moves_beneath_corrections(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.click("#brush")
    visitor.drag((0.2, 0.5), (0.8, 0.5))
    visitor.set("#threshold", 250)
    mask = pixels_of(visitor.download("#download-mask", "car_mask.png"))
    expected = pixels_of(ask(two_classes, car, f"output=mask&threshold={249.5 / 255}"))
    assert (mask[160, 110:370] == 255).all()
    assert np.array_equal(mask[:100], expected[:100])


# Ways to use it


def test_keys_alone_lead_from_the_start_to_a_corrected_download(visitor: Visitor, two_classes: str) -> None:
    visitor.visit(two_classes)
    go_to(visitor, "sample")
    visitor.press(Keys.ENTER)
    visitor.until_ready(1)
    go_to(visitor, "threshold")
    visitor.press(Keys.ARROW_RIGHT)
    assert visitor.one("#threshold-said").text == "0.504"
    go_to(visitor, "brush")
    visitor.press(Keys.SPACE)
    go_to(visitor, "original")
    visitor.press(Keys.ARROW_RIGHT)
    visitor.until_said("At column")
    before = visitor.one("#gallery .state").text
    visitor.press(Keys.SPACE)
    assert "Painted at column" in visitor.said()
    assert visitor.said().endswith(": foreground.")
    visitor.press(Keys.ENTER, *[Keys.ARROW_DOWN] * 3, Keys.ENTER)
    assert (before, visitor.one("#gallery .state").text) == ("ready", "corrected")
    go_to(visitor, "download-mask")
    visitor.press(Keys.ENTER)
    assert pixels_of(visitor.downloaded("drawn-car_mask.png")).shape == (720, 1080)


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_scrolling_sideways(width: int, visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.resize(width, 844, is_phone=True)
    visitor.visit(two_classes)
    content = "return document.documentElement.scrollWidth"  # innerWidth grows with it on a phone
    assert visitor.run(content) == width
    assert visitor.one("label[for=photograph]").is_displayed()
    assert visitor.one("#photograph").get_attribute("capture") == "environment"
    visitor.choose(car)
    visitor.click("[name=view][value=background]")
    visitor.click("#brush")
    assert visitor.run(content) == width
    small = visitor.run(
        "return [...document.querySelectorAll('button:not(.link), label.button, [type=range]')]"
        ".filter((part) => part.checkVisibility() && part.getBoundingClientRect().height < 24).map((part) => part.id)"
    )
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme: str, visitor: Visitor, three_classes: str, car: Path) -> None:
    visitor.prefer(scheme)
    visitor.visit(three_classes)
    paper = visitor.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(247, 246, 243)", "dark": "rgb(22, 24, 27)"}[scheme]
    faint = visitor.run(CONTRASTS)
    visitor.choose(car)
    visitor.click("#brush")
    faint += visitor.run(CONTRASTS)
    assert faint == []


def test_paper_shows_what_is_seen_in_light_colours_and_nothing_to_press(
    visitor: Visitor, two_classes: str, car: Path
) -> None:
    visitor.visit(two_classes)
    visitor.choose(car)
    visitor.prefer("dark", on_paper=True)
    assert visitor.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for part in ("#model", "#original", "#result", "#status", "#classes .share", "#threshold-said"):
        assert visitor.one(part).is_displayed()
    pressed = "button:not(.tile), input, label.button, a"
    shown = f"[...document.querySelectorAll('{pressed}')].filter((part) => part.checkVisibility())"
    assert visitor.run(f"return {shown}.map((part) => part.outerHTML)") == []


def test_every_control_has_a_name_and_a_role(visitor: Visitor, two_classes: str, car: Path) -> None:
    visitor.visit(two_classes)
    assert unnamed(visitor) == []
    visitor.choose(car)
    visitor.click("[name=view][value=background]")
    assert unnamed(visitor) == []
    visitor.click("#brush")
    assert unnamed(visitor) == []
    assert visitor.run("return document.documentElement.lang") == "en"
    assert visitor.one("#status").get_attribute("aria-live") == "polite"
    assert len(visitor.all("main")) == 1
    twice = visitor.run(
        "const ids = [...document.querySelectorAll('[id]')].map((part) => part.id);"
        "return ids.filter((id, place) => ids.indexOf(id) !== place)"
    )
    assert twice == []


def test_a_key_is_asked_for_and_a_busy_server_is_asked_again(
    visitor: Visitor, guarded: str, small_pictures: list[Path], car: Path
) -> None:
    visitor.driver.get(guarded)
    for key, still_asks in ((WRONG_KEY, True), (KEY, False)):
        visitor.until("document.getElementById('key').open")
        visitor.one("#key-input").send_keys(key)
        visitor.press(Keys.ENTER)
        if still_asks:
            visitor.until("document.getElementById('key-note').textContent.startsWith('The server does not know')")
    visitor.until("!document.getElementById('main').hasAttribute('aria-busy')")
    with occupying(guarded, KEY):
        visitor.one("#choose").send_keys("\n".join(map(str, small_pictures)))
        visitor.until("document.getElementById('notice').textContent.startsWith('The server is busy')")
    visitor.until_ready(len(small_pictures))
    visitor.one("#more").send_keys(str(car))
    visitor.all("#gallery .tile")[-1].click()
    visitor.until("document.querySelector('#gallery .failed') !== null")
    visitor.until_said("pixels")
    log = visitor.complaints()
    assert any("503" in line for line in log)
    assert all(any(status in line for status in ("401", "413", "422", "503")) for line in log)


def test_a_key_that_no_server_can_have_is_refused_where_it_is_asked_for(visitor: Visitor, guarded: str) -> None:
    visitor.driver.get(guarded)
    visitor.run("sessionStorage.clear()")
    visitor.driver.refresh()
    visitor.until("document.getElementById('key').open")
    for odd in (f"\u201c{KEY}\u201d", f"{KEY}\u200b"):
        visitor.one("#key-input").clear()
        visitor.one("#key-input").send_keys(odd)
        visitor.press(Keys.ENTER)
        said = visitor.run("return document.getElementById('key-input').validationMessage")
        assert said.startswith("No key holds a curly quote, an invisible space or the like")
        assert visitor.run("return document.getElementById('key').open && sessionStorage.length === 0")
    visitor.one("#key-input").clear()
    visitor.one("#key-input").send_keys(KEY, Keys.ENTER)
    visitor.until("!document.getElementById('main').hasAttribute('aria-busy')")
    visitor.run("sessionStorage.clear()")
    assert all("401" in line for line in visitor.complaints())


def test_without_a_folder_nothing_is_offered_to_be_saved(visitor: Visitor, odd_threshold: str, car: Path) -> None:
    visitor.visit(odd_threshold)
    visitor.choose(car)
    assert not visitor.one("#save").is_displayed()


# Texts whose contrast is less than WCAG's AA asks for.
CONTRASTS = """
const channels = (colour) => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d');
  canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([red, green, blue]) => [red, green, blue]
  .map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4))
  .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
const behind = (part) => {
  for (; part; part = part.parentElement) {
    const colour = channels(getComputedStyle(part).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return [255, 255, 255, 255];
};
return [...document.body.querySelectorAll('*')]
  .filter((part) => part.checkVisibility() && !part.closest(':disabled') && !part.closest('.unseen'))
  .filter((part) => [...part.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
  .map((part) => {
    const [one, other] = [light(channels(getComputedStyle(part).color)), light(behind(part))];
    return [part.textContent.trim(), (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
  })
  .filter(([, contrast]) => contrast < 4.5);
"""


def go_to(visitor: Visitor, identifier: str) -> None:
    """Press Tab until an element has the focus, forwards around the page."""
    for _ in range(60):
        visitor.press(Keys.TAB)
        if visitor.run("return document.activeElement.id") == identifier:
            assert visitor.run("return document.activeElement.matches(':focus-visible')")
            return
    raise AssertionError(f"Tab does not lead to {identifier}")


def unnamed(visitor: Visitor) -> list[dict[str, Any]]:
    """What can have the focus, and a screen reader has no name for."""
    visitor.command("Accessibility.enable", {})
    nodes = visitor.command("Accessibility.getFullAXTree", {})["nodes"]
    return [
        node["role"]
        for node in nodes
        if not node["ignored"]
        and any(entry["name"] == "focusable" and entry["value"]["value"] for entry in node.get("properties", []))
        and node["role"]["value"] != "RootWebArea"
        and not node.get("name", {}).get("value")
    ]
