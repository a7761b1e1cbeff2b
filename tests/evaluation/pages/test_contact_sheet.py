"""The page: whole in one file, escaped, and with a picture for each finding."""

import base64
import hashlib
import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.doctor import diagnose
from maskwright.data.examination import examine
from maskwright.data.finding import find_dataset
from maskwright.data.label_survey import LabelOptions
from maskwright.data.reading import choose_formats
from maskwright.data.report import Diagnosis, Finding
from maskwright.evaluation.pages.contact_sheet import IN_ALL, OF_A_FINDING, shown_pictures, write_contact_sheet
from maskwright.evaluation.pages.markup import Html, bar, join, page, tag
from tests.parsed_pages import parse

HOSTILE = "<script>alert(1)&\"'"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight pictures, one with a hostile name, one mask empty, one image damaged."""
    folder = tmp_path / "photos & masks"
    rng = np.random.default_rng(0)
    for number in range(8):
        name = HOSTILE if number == 3 else f"picture{number}"
        rough = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        mask = np.zeros((72, 96), np.uint8)
        mask[10:50, 20 : 60 + number] = 0 if number == 3 else 255
        for kind, picture in (("images", rough.resize((96, 72))), ("masks", Image.fromarray(mask))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            picture.save(folder / kind / f"{name}.png")
    (folder / "images/picture5.png").write_bytes(b"damaged")
    return folder


def check(folder: Path) -> Diagnosis:
    pairing = find_dataset(folder)
    formats, decision = choose_formats(pairing.pairs, LabelOptions(), advance=lambda: None)
    examined = examine(pairing.pairs, formats, size=96, advance=lambda: None)
    return diagnose(folder, pairing, formats, decision, examined, pattern=None, size=96, val_share=0.2)


def draw(diagnosis: Diagnosis, path: Path) -> str:
    calls = []
    write_contact_sheet(path, diagnosis, advance=lambda: calls.append(1))
    assert len(calls) == len(shown_pictures(diagnosis))
    return path.read_text(encoding="utf-8")


def test_the_page_needs_nothing_else_and_runs_nothing(photos: Path, tmp_path: Path) -> None:
    found = parse(draw(check(photos), tmp_path / "check.html"))
    assert found.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in found.links)
    assert not {"script", "link", "iframe", "object", "form"} & set(found.tags)


def test_names_are_text_whatever_they_hold(photos: Path, tmp_path: Path) -> None:
    found = parse(draw(check(photos), tmp_path / "check.html"))
    assert f"images/{HOSTILE}.png" in found.text
    assert "photos & masks" in found.text


def test_each_finding_stands_on_the_page_with_its_pictures(photos: Path, tmp_path: Path) -> None:
    diagnosis = check(photos)
    document = draw(diagnosis, tmp_path / "check.html")
    text = parse(document).text
    assert {finding.kind for finding in diagnosis.findings} == {"unreadable", "empty masks", "labels"}
    for finding in diagnosis.findings:
        assert finding.sentence in text
        assert all(name in text for name in finding.files)
    empty = document[document.index("nothing but background") :]
    assert "data:image" in empty[: empty.index("</article>")]


def test_a_folder_without_a_usable_picture_has_a_page_too(photos: Path, tmp_path: Path) -> None:
    for path in (photos / "images").iterdir():
        path.write_bytes(b"damaged")
    assert "No picture of this folder can be used." in parse(draw(check(photos), tmp_path / "check.html")).text


def test_the_page_stays_small_however_many_files_a_finding_has(photos: Path) -> None:
    diagnosis = check(photos)
    findings = tuple(
        Finding("kind", "warning", "Many.", "", {f"{some}/{number}.png": "" for number in range(5000)})
        for some in range(40)
    )
    shown = shown_pictures(replace(diagnosis, findings=findings))
    assert len(shown) == len(set(shown)) == IN_ALL
    assert sum(name in findings[0].files for name in shown) == OF_A_FINDING


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "<b>", tag("b", "x"), title='"') == '<p title="&quot;">&lt;b&gt;<b>x</b></p>'
    assert join("&", Html("<br/>")) == "&amp;<br/>"
    assert "<title>" in parse(page("<title>", tag("svg", tag("rect", width=3)))).text


def test_a_page_lets_its_own_script_run_and_no_other() -> None:
    without, with_script = html.unescape(page("title")), page("title", script="one()")
    assert "default-src 'none'" in without
    assert "script-src" not in without
    digest = base64.b64encode(hashlib.sha256(b"one()").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(with_script)
    assert parse(with_script).scripts == ["one()"]


@pytest.mark.parametrize(("share", "width"), [(-1, 0), (0.25, 25), (7, 100)])
def test_bars_stay_in_their_track(share: float, width: int) -> None:
    assert re.search(f"width:{width}.00%", bar(share))
