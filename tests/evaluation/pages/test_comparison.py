"""The page of two models: which is A and which is B, and what the interval says of them."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskwright.evaluation.compare import Comparison, Difference
from maskwright.evaluation.evaluate import TITLES
from maskwright.evaluation.metrics import Interval
from maskwright.evaluation.pages.comparison import Versus, draw_comparison, write_comparison
from maskwright.evaluation.pages.gallery import draw_two
from tests.compared_pictures import TWO, boxes, compared
from tests.parsed_pages import parse

BETTER, NOTHING = Interval(0.02, 0.01, 0.03), Interval(0.0, -0.1, 0.1)


def a_comparison(**changes: Any) -> Comparison:
    measures: dict[str, Any] = {**dict.fromkeys(TITLES, NOTHING), "dice": BETTER, "edge_error": BETTER}
    pictures = (Difference("car_1", 0.5, 0.75), Difference("<b>car", 0.9, 0.8))
    counts: dict[str, Any] = {"groups": 5, "groups_of": dict.fromkeys(TITLES, 5), "only_first": 0, "only_second": 0}
    whole = Comparison(**measures, pictures=pictures, common=2, **counts)
    return replace(whole, **changes)


def text_of(versus: Versus) -> str:
    return parse(draw_comparison(versus)).text


def test_the_page_says_which_is_better_and_which_is_which() -> None:
    text = text_of(Versus(first="runs/<a>", second="runs/<b>", comparison=a_comparison()))
    assert "A: runs/<a>B: runs/<b>B is better: Dice +0.0200 on 2 pictures of 5 groups" in text
    worse = a_comparison(dice=Interval(-0.02, -0.03, -0.01))
    assert "A is better: Dice -0.0200 on" in text_of(Versus(first="a", second="b", comparison=worse))
    same = a_comparison(dice=NOTHING)
    assert "These pictures do not tell A and B apart: Dice +0.0000" in text_of(
        Versus(first="a", second="b", comparison=same)
    )
    few = text_of(Versus(first="a", second="b", comparison=a_comparison(groups_of=dict.fromkeys(TITLES, 4))))
    assert "These pictures do not tell A and B apart: Dice +0.0200" in few
    assert "Dice+0.02000.0100 to 0.0300not told apart" in few


def test_each_measure_has_its_own_verdict_of_which_less_may_be_better() -> None:
    text = text_of(Versus(first="a", second="b", comparison=a_comparison()))
    gain = "+0.02000.0100 to 0.0300"
    said = {"dice": f"{gain}B is better", "edge_error": f"{gain}A is better"}
    for measure, title in TITLES.items():
        assert title + said.get(measure, "+0.0000-0.1000 to 0.1000not told apart") in text


def test_each_picture_has_a_row_with_a_before_b_and_a_dot() -> None:
    page = draw_comparison(Versus(first="a", second="b", comparison=a_comparison()))
    assert "car_10.50000.7500+0.2500<b>car0.90000.8000-0.1000" in parse(page).text
    assert page.count("<svg") == 1


def test_a_table_that_does_not_hold_all_pictures_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    versus = Versus(first="a", second="b", comparison=a_comparison())
    assert "All pictures as a tablepicture" in text_of(versus)
    monkeypatch.setattr("maskwright.evaluation.pages.comparison.MOST_ROWS", 1)
    text = text_of(versus)
    assert "All pictures as a table, the 1 of 2 that differ most" in text
    assert "<b>car" not in text


def test_pictures_that_one_of_them_lacks_are_said_where_there_are_any() -> None:
    one = Versus(first="a", second="b", comparison=a_comparison(only_first=3, only_second=1))
    assert "Left aside: 3 pictures that only A scored, 1 only B." in text_of(one)
    assert "Left aside" not in text_of(replace(one, comparison=a_comparison()))


def test_remarks_are_said_and_leaks_in_bold() -> None:
    remarks = ("A: LEAK: all of them.", "B: <i>known</i>")
    page = draw_comparison(Versus(first="a", second="b", comparison=a_comparison(), remarks=remarks))
    assert '<p class="leak">A: LEAK: all of them.</p>' in page
    assert '<p class="remark">B: &lt;i&gt;known&lt;/i&gt;</p>' in page


def test_pictures_are_shown_or_it_is_said_why_not(tmp_path: Path) -> None:
    truth, mask = boxes(3)
    exhibit = draw_two(compared(truth, truth), compared(truth, mask), TWO)
    shown = Versus(first="a", second="b", comparison=a_comparison(), labels=TWO, exhibits=[exhibit])
    write_comparison(tmp_path / "report.html", shown)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<label for="view-([\w-]+)">([^<]+)', page) == [
        ("errors-a", "Errors of A"),
        ("errors-b", "Errors of B"),
        ("truth", "Mask"),
    ]
    assert "Where they differ most" in parse(page).headings
    missing = replace(shown, labels=None, exhibits=(), missing="No pictures are shown: they are gone.")
    text = text_of(missing)
    assert "No pictures are shown: they are gone." in text
    assert "Where they differ most" not in text


def test_nothing_in_common_but_empty_masks_is_said_with_dashes() -> None:
    nothing: dict[str, Any] = dict.fromkeys(TITLES, Interval(math.nan, math.nan, math.nan))
    text = text_of(Versus(first="a", second="b", comparison=a_comparison(**nothing, pictures=())))
    assert "do not tell A and B apart: Dice – on" in text
    assert "Each picture" not in text
    assert "nan" not in text.lower()
