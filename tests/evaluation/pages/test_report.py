"""The report: whole in one file, escaped, and with the figures that were measured."""

import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.config import Architecture
from maskwright.data.labels import LabelMap
from maskwright.data.pairs import Problem
from maskwright.evaluation.certainty import BINS, Bin, Calibration, Sweep
from maskwright.evaluation.evaluate import (
    TITLES,
    ClassScore,
    Compared,
    PictureScore,
    Scores,
    score_mask,
    scores_from_json,
)
from maskwright.evaluation.machine import Effort, Machine
from maskwright.evaluation.metrics import Interval, bootstrap_interval, confusion_counts
from maskwright.evaluation.pages.gallery import Gallery
from maskwright.evaluation.pages.report import NO_PLOTS, Report, Training, draw_report, write_report
from maskwright.inference.model_file import ModelCard, Parent
from tests.parsed_pages import Page, parse

NAN = math.nan
HOSTILE = "<img src=x onerror=alert(1)>&\"'$\\"
MACHINE = Machine("A Processor", 2, 8e9, "PyTorch 9.9 on cpu", "Linux 6", {"python": "3.99"})


def labels_of(classes: int) -> LabelMap:
    names = ("background", *(f"kind {number}" for number in range(1, classes)))
    return LabelMap("indices", names, values=tuple((number,) for number in range(classes)))


def looked_at(pictures: int, classes: int, name: str = "car{}_0") -> list[Compared]:
    """Pictures in which every class is a stripe, with more errors in each."""
    found = []
    labels = labels_of(classes)
    for number in range(pictures):
        truth = np.repeat(np.arange(48, dtype=np.uint8) * classes // 48, 40).reshape(48, 40)
        mask = np.roll(truth, number % 20, axis=0)
        row = score_mask(mask, truth, labels, name=name.format(number), group=name.format(number % 3))
        counts = confusion_counts(truth, mask, classes)
        found.append(
            Compared(
                image=np.full((48, 40, 3), 90, np.uint8),
                truth=truth,
                mask=mask,
                row=row,
                confusion=counts,
                table=np.zeros((3, BINS)),
            )
        )
    return found


def scores_of(seen: list[Compared], classes: int) -> Scores:
    groups = [of.row.group for of in seen]

    def means(rows: list[Any]) -> dict[str, Any]:
        return {measure: bootstrap_interval([getattr(row, measure) for row in rows], groups) for measure in TITLES}

    scored = [
        ClassScore(
            name=labels_of(classes).class_names[place + 1],
            pictures=len(seen),
            **means([of.row.classes[place] for of in seen]),
        )
        for place in range(classes - 1)
    ]
    return Scores(
        **means([of.row for of in seen]),
        pictures=tuple(of.row for of in seen),
        groups=len(set(groups)),
        classes=tuple(scored),
        confusion=tuple(map(tuple, sum((of.confusion for of in seen), np.zeros((classes, classes), int)).tolist())),
        calibration=Calibration(0.0123, (Bin(0.9, 0.02, 0.01), Bin(0.1, 0.7, 0.5))),
        sweep=Sweep((0.25, 0.5, 0.75), (0.8, 0.9, 0.8), (0.7, 0.8, 0.75), 0.5) if classes == 2 else None,
    )


def a_report(pictures: int = 12, classes: int = 2, **changes: Any) -> Report:
    labels = labels_of(classes)
    seen = looked_at(pictures, classes)
    gallery = Gallery(labels)
    for of in seen:
        gallery.look(of)
    training = Training(
        photos="/data/my cars",
        parts={"train": (40, 10), "val": (12, 3)},
        rule="13 groups by the pattern X",
        lines=(
            {"epoch": 1, "step": 10, "train_loss": 0.5, "val_loss": 0.6, "train_dice": 0.7, "learning_rate": 0.1},
            {"epoch": 2, "step": 20, "train_loss": 0.4, "train_dice": 0.8, "learning_rate": 0.05},
        ),
        findings=("The loss rose.",),
        effort=Effort(151.0, 2.5e9, MACHINE),
        command="maskwright train '/data/my cars' --preset quick",
    )
    report = Report(
        model=Path("/runs/one/model.safetensors"),
        photos="/data/my cars",
        scored="the validation pictures of /data/my cars",
        card=ModelCard(Architecture(), size=64, labels=labels, trained_on=("a", "b"), settings={"minutes": 2.5}),
        scores=scores_of(seen, classes),
        gallery=gallery,
        effort=Effort(6.0, None, MACHINE),
        training=training,
    )
    return replace(report, **changes)


def headings(page: Page) -> set[str]:
    return {
        heading
        for heading in (
            "Scores",
            "Classes",
            "What was taken for what",
            "Pictures",
            "Each picture",
            "Probabilities",
            "What was trained on what",
            "Split",
            "How it learnt",
            "Time, memory and machine",
            "Commands to reproduce this",
            "Definitions",
        )
        if heading in page.headings
    }


def test_the_report_needs_nothing_else(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", a_report())
    document = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = parse(document)
    assert found.links
    assert all(link.startswith(("data:image/jpeg;base64,", "data:image/png;base64,", "#")) for link in found.links)
    assert not {"link", "iframe", "object", "form", "base"} & set(found.tags)
    assert len(found.scripts) == 1
    assert "@import" not in document
    assert "http" not in document.replace("http-equiv", "")


def test_every_section_is_there() -> None:
    page = parse(draw_report(a_report(classes=3)))
    assert len(headings(page)) == 12
    assert page.headings[0] == "one"


def test_the_figures_are_those_that_were_measured() -> None:
    report = a_report(classes=3)
    text = parse(draw_report(report)).text
    for measure in TITLES:
        interval = getattr(report.scores, measure)
        digits = 2 if measure == "hausdorff_95" else 4
        assert f"{interval.mean:.{digits}f}{interval.low:.{digits}f} to {interval.high:.{digits}f}123" in text
    for row in report.scores.classes:
        assert f"{row.name}{row.dice.mean:.4f}{row.iou.mean:.4f}" in text
    for picture in report.scores.pictures:
        assert f"{picture.name}{picture.group}{picture.dice:.4f}{picture.iou:.4f}" in text
    assert "on 12 pictures of 3 groups" in text
    assert "Calibration error 0.0123" in text


def test_each_mean_says_on_how_many_pictures_and_groups_it_rests() -> None:
    report = a_report(3)
    pictures = (*report.scores.pictures[:2], replace(report.scores.pictures[2], hausdorff_95=NAN))
    text = parse(draw_report(replace(report, scores=replace(report.scores, pictures=pictures)))).text
    assert f"{report.scores.dice.high:.4f}33" in text
    assert f"{report.scores.hausdorff_95.high:.2f}22" in text


def test_the_headline_is_the_mean_dice() -> None:
    report = a_report()
    measures: dict[str, Any] = {
        measure: Interval(0.1 + 0.1 * place, 0.05, 0.95) for place, measure in enumerate(TITLES)
    }
    page = draw_report(replace(report, scores=replace(report.scores, **measures)))
    assert "Dice 0.1000 on 12 pictures" in parse(page).text
    assert re.findall(r'class="card"><b>([^<]+)', page) == ["0.1000", "0.2000", "0.5000", "0.60"]


def test_bars_show_the_interval_and_the_mean_of_shares_alone() -> None:
    report = a_report()
    page = draw_report(replace(report, scores=replace(report.scores, dice=Interval(0.6, 0.25, 0.75))))
    assert '<div class="range"><i style="left:25.00%;width:50.00%"></i><b style="left:60.00%"></b></div>' in page
    assert page.count('class="range"') == len(TITLES) - 1  # a distance has no end


def test_the_confusion_table_has_the_shares_of_each_row() -> None:
    report = a_report(1, 3)
    confusion = ((90, 10, 0), (1, 99999, 0), (0, 0, 0))
    page = draw_report(replace(report, scores=replace(report.scores, confusion=confusion)))
    assert "background90.010.00kind 1<0.1100.00kind 2–––" in parse(page).text
    cell = '<td style="--heat:6%" title="10 pixels of background were called kind 1">10.0</td>'
    assert (
        f'<td style="--heat:54%" class="own" title="90 pixels of background were called background">90.0</td>{cell}'
        in page
    )


def test_two_classes_have_no_table_of_classes() -> None:
    assert "Classes" not in parse(draw_report(a_report(classes=2))).headings


def test_worst_and_best_pictures_hang_under_their_headings() -> None:
    page = draw_report(a_report())
    order = [page.index(word) for word in (">Worst pictures<", "<b>car11_0</b>", ">Best pictures<", "<b>car0_0</b>")]
    assert order == sorted(order)


def test_the_table_of_pictures_begins_with_the_worst_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwright.evaluation.pages.report.MOST_ROWS", 3)
    dices = [0.5, NAN, 0.7, 0.2, 0.9]
    pictures = tuple(
        PictureScore(name=f"p{place}", group="g", classes=(), fingerprint="", **dict.fromkeys(TITLES, dice))
        for place, dice in enumerate(dices)
    )
    shown = a_report(training=None)
    page = draw_report(replace(shown, scores=replace(shown.scores, pictures=pictures)))
    assert re.findall(r"<td>(p\d)</td><td>g</td>", page) == ["p3", "p0", "p2"]
    text = parse(page).text
    assert "All pictures as a table, the worst 3 of them" in text
    assert "A tenth lies below 0.2900, half below 0.6000, a tenth above 0.8400." in text
    monkeypatch.setattr("maskwright.evaluation.pages.report.MOST_ROWS", 5)
    page = draw_report(replace(shown, scores=replace(shown.scores, pictures=pictures)))
    assert re.findall(r"<td>(p\d)</td><td>g</td>", page) == ["p3", "p0", "p2", "p4", "p1"]


def test_what_could_not_be_scored_is_listed_where_there_is_any() -> None:
    shown = a_report()
    assert "Not scored" not in parse(draw_report(shown)).text
    problems = (Problem(Path("a"), "a.jpg is damaged."), Problem(Path("b"), "b.jpg is damaged."))
    text = parse(draw_report(replace(shown, scores=replace(shown.scores, problems=problems)))).text
    assert "Not scored: 2a.jpg is damaged.b.jpg is damaged." in text


def test_the_best_threshold_is_the_one_of_validation_with_its_dice_there() -> None:
    shown = a_report()
    assert "validation pictures is 0.5 (Dice 0.9000); the model's is 0.5." in parse(draw_report(shown)).text
    card = replace(shown.card, threshold=0.25)
    assert (
        "validation pictures is 0.5 (Dice 0.9000); the model's is 0.25."
        in parse(draw_report(replace(shown, card=card))).text
    )
    nowhere = replace(shown, scores=replace(shown.scores, sweep=Sweep((0.25,), (NAN,), (0.7,), None)))
    assert "No threshold was chosen" in parse(draw_report(nowhere)).text


def test_calibration_is_a_table_too() -> None:
    assert "probabilitycame trueof all pixels0.0200.01090.00%0.7000.50010.00%" in parse(draw_report(a_report())).text


def test_names_are_text_whatever_they_hold() -> None:
    seen = looked_at(6, 2, HOSTILE.replace("{", "") + "{}")
    gallery = Gallery(labels_of(2))
    for of in seen:
        gallery.look(of)
    scores = replace(scores_of(seen, 2), problems=(Problem(Path(), f"{HOSTILE} cannot be read."),))
    report = a_report(
        scores=scores,
        gallery=gallery,
        model=Path(f"/runs/{HOSTILE}/model.safetensors"),
        photos=HOSTILE,
        scored=HOSTILE,
        leaks=(f"LEAK: {HOSTILE}",),
        remarks=(HOSTILE,),
        card=ModelCard(
            Architecture(),
            size=64,
            labels=LabelMap("indices", ("background", HOSTILE), values=((0,), (1,))),
            trained_on=("a",),
            parent=Parent(HOSTILE, "f"),
            settings={"loss": HOSTILE},
        ),
        training=Training(photos=HOSTILE, parts={HOSTILE: (1, 1)}, rule=HOSTILE, findings=(HOSTILE,), command=HOSTILE),
        effort=Effort(1.0, None, replace(MACHINE, processor=HOSTILE)),
    )
    document = draw_report(report)
    found = parse(document)
    assert found.text.count(HOSTILE) > 20
    assert "x" not in found.links
    assert found.tags.count("script") == 1
    assert "<img src=x" not in document


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("pictures", [1, 2, 50])
def test_any_number_of_pictures_and_classes(pictures: int, classes: int) -> None:
    document = draw_report(a_report(pictures, classes))
    assert parse(document).tags.count("figure") >= 4
    assert len(document) < 1_000_000


def test_scores_that_do_not_exist_are_dashes() -> None:
    nothing = Interval(NAN, NAN, NAN)
    row = PictureScore(name="empty", group="a", classes=(), fingerprint="", **dict.fromkeys(TITLES, NAN))
    measures: dict[str, Any] = dict.fromkeys(TITLES, nothing)
    scores = Scores(**measures, pictures=(row,), groups=1)
    text = parse(draw_report(a_report(scores=scores, gallery=Gallery(labels_of(2))))).text
    assert "nan" not in text.lower()
    assert "Nothing could be scored" in text
    assert "emptya––––" in text


def test_a_single_group_has_no_interval_and_says_so() -> None:
    text = parse(draw_report(a_report(1))).text
    assert "none: a single group" in text
    assert "nan" not in text.lower()


def test_sections_without_facts_are_left_out() -> None:
    report = a_report(training=None, effort=None, gallery=Gallery(labels_of(2)))
    report = replace(report, scores=replace(report.scores, calibration=None, sweep=None, confusion=()))
    found = headings(parse(draw_report(report)))
    assert found == {
        "Scores",
        "Each picture",
        "What was trained on what",
        "Commands to reproduce this",
        "Definitions",
    }


def test_scores_of_earlier_versions_have_a_report() -> None:
    interval = {"mean": 0.9, "low": None, "high": None}
    row = {"name": "a", "group": "a", "dice": 0.9, "iou": 0.8, "class_dice": [0.9], "class_iou": [0.8]}
    content = {"pictures": [row], "dice": interval, "iou": interval, "groups": 1, "classes": [], "problems": []}
    assert "0.9000" in parse(draw_report(a_report(scores=scores_from_json(content)))).text


def test_leaks_stand_at_the_top_in_bold() -> None:
    document = draw_report(a_report(leaks=("LEAK: 3 of these pictures.",), remarks=("Known.",)))
    assert '<p class="leak">LEAK: 3 of these pictures.</p>' in document
    assert document.index("LEAK: 3") < document.index("<h2>Scores")
    assert ".leak { " in document
    assert "color:var(--problem)" in document
    assert "color:var(--problem)" not in draw_report(a_report(leaks=("2 copies were left out.",)))


def test_without_matplotlib_the_report_says_what_brings_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "<svg" in draw_report(a_report())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    document = draw_report(a_report())
    assert "<svg" not in document
    assert NO_PLOTS in parse(document).text
    assert len(headings(parse(document))) == 11


def test_commands_are_quoted() -> None:
    text = parse(draw_report(a_report(options=["--group", "([0-9]+)_"]))).text
    assert "maskwright evaluate /runs/one/model.safetensors '/data/my cars' --group '([0-9]+)_'" in text
    assert "maskwright train '/data/my cars' --preset quick" in text
    assert "gives other weights each time" in text
    by_epochs = a_report(card=ModelCard(Architecture(), size=64, trained_on=("a",), settings={"epochs": 3}))
    assert "gives other weights each time" not in parse(draw_report(by_epochs)).text


def test_what_it_took_stands_there() -> None:
    text = parse(draw_report(a_report())).text
    assert "Trainingtime2 min 31 sepochs2, 20 stepsmemory2.50 GB at mostcomputed by" in text
    assert "Scoringtime6.0 s, 0.50 s a picturememorynot knowncomputed by" in text
    assert "A Processor, 2 coresmain memory8.0 GBsystem" in text


def test_what_was_trained_on_what_stands_there() -> None:
    shown = a_report()
    page = draw_report(replace(shown, training=replace(shown.training, unread=7) if shown.training else None))
    text = parse(page).text
    assert "learnt from2 pictures; 0 more chose the best weights" in text
    assert "asked for2.5 minutes" in text
    assert "networkclassic U-Net, 64 channels" in text
    assert "partpicturesgroupstrain4010val123" in text
    assert "13 groups by the pattern X." in text
    assert "7 more pictures were left out" in text
    assert '<div style="flex:40"></div><div style="flex:12"></div>' in page
    architecture = Architecture(encoder="efficientnet_lite0")
    one = replace(shown.card, settings={"minutes": 1.0}, chosen_on=("c",), architecture=architecture)
    text = parse(draw_report(replace(shown, card=one))).text
    assert "asked for1 minutescored on" in text
    assert "1 more chose the best weights" in text
    assert "networkU-Net on efficientnet_lite0" in text


def test_how_it_learnt_is_drawn_and_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = a_report()
    page = draw_report(shown)
    assert "The loss rose." in parse(page).text
    head = "epochtrain lossval losstrain diceval dicelearning rateseconds"
    assert f"{head}10.50.60.7–0.1–20.4–0.8–0.05–" in parse(page).text
    assert "<details><summary>All epochs as a table</summary>" in page
    assert shown.training is not None
    single = draw_report(replace(shown, training=replace(shown.training, lines=shown.training.lines[:1])))
    assert '<details open=""><summary>All epochs as a table' in single  # a point is no curve
    assert single.count("<svg") == page.count("<svg") - 3
    monkeypatch.setattr("maskwright.evaluation.pages.report.MOST_ROWS", 1)
    text = parse(draw_report(shown)).text
    assert f"All epochs as a table, the last 1 of 2{head}20.4" in text


def test_an_imported_model_says_that_nothing_is_known() -> None:
    card = ModelCard(Architecture(), size=64)
    assert "the model was trained elsewhere" in parse(draw_report(a_report(card=card, training=None))).text


def test_both_themes_and_paper_have_their_colours() -> None:
    document = draw_report(a_report())
    assert "@media screen and (prefers-color-scheme: dark)" in document  # paper is never dark
    assert "@media print" in document
