"""The report of a model: what it learnt from, how good it is on pictures that it did not, and where it is wrong.

One function for each section; a section whose facts are missing is left out.
"""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.evaluation.certainty import Calibration
from maskwright.evaluation.evaluate import DEFINITIONS, TITLES, PictureScore, Scores, is_leak
from maskwright.evaluation.machine import Effort
from maskwright.evaluation.metrics import Interval
from maskwright.evaluation.pages import gallery, plots
from maskwright.evaluation.pages.gallery import Gallery, draw_walls
from maskwright.evaluation.pages.markup import Html, join, page, tag
from maskwright.files import write_text
from maskwright.inference.model_file import ModelCard

# Measures that stand at the top; those of each class and of each picture.
HEADLINE = ("dice", "iou", "boundary_f", "hausdorff_95")
# Pictures, and epochs, that get a row in a table.
MOST_ROWS = 400
NO_PLOTS = "Plots are left out: matplotlib is not installed; it comes with pip install '.[train]'."

STYLE = """
.leak { margin: 1rem 0 0; padding: .7rem 1rem; border-left: 4px solid var(--problem); border-radius: 8px;
  background: var(--card); color: var(--problem); font-weight: 700; max-width: none; overflow-wrap: anywhere; }
.remark { margin: .5rem 0 0; padding: .5rem 1rem; border-left: 4px solid var(--warning); border-radius: 8px;
  background: var(--card); font-size: .92rem; max-width: none; overflow-wrap: anywhere; }
header p { max-width: none; }
.card span { display: block; }
.facts th { padding: .32rem 1.2rem .32rem 0; border-top: 1px solid var(--line); white-space: nowrap; width: 1%; }
.facts th, .facts td { vertical-align: baseline; }
.facts tr:first-child > * { border-top: 0; }
.scroll { overflow-x: auto; font-size: .92rem; }
.scroll td:first-child { overflow-wrap: normal; min-width: 6rem; }
.range { position: relative; height: .55rem; min-width: 6rem; margin: 0 .2rem; border-radius: 99px;
  background: var(--track); }
.range i { position: absolute; top: 0; bottom: 0; border-radius: 99px; background: var(--fill); opacity: .5; }
.range b { position: absolute; top: -.15rem; bottom: -.15rem; width: 3px; margin-left: -1.5px; border-radius: 2px;
  background: var(--ink); }
.confusion { width: auto; } .confusion td, .confusion th { padding: .3rem .45rem; border: 1px solid var(--card); }
.confusion td { text-align: right; min-width: 3rem; font-size: .8rem;
  background: color-mix(in srgb, var(--fill) var(--heat), var(--track)); }
.confusion thead th { font-size: .78rem; vertical-align: bottom; text-align: center; }
.confusion .many span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }
.confusion tbody th { text-align: right; white-space: nowrap; position: sticky; left: 0; background: var(--card); }
.confusion .own { outline: 1px solid var(--soft); outline-offset: -1px; }
h3 { margin: 1.6rem 0 .6rem; font-size: 1rem; font-weight: 600; }
.two h3 { margin-top: 0; }
pre { margin: .2rem 0 .9rem; padding: .7rem .9rem; border-radius: 8px; background: var(--track); font-size: .82rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre span { display: inline-block; max-width: 100%; }
.definitions p { max-width: 90ch; font-size: .88rem; }
@media print { .views:not(:checked) + label, .compare input { display: none !important; }
  .layers img + img { clip-path: none !important; } .layers::after { display: none; }
  .plots { grid-template-columns: repeat(2, 1fr); } .wall { grid-template-columns: repeat(3, 1fr); }
  .two { grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); } details:not([open]) { display: none; }
  .views:checked + label { display: block; width: fit-content; } .card .soft { font-size: .76rem; }
  h3, .legend, .views + label { break-after: avoid; }
  .plots > figure, .leak, .remark, .two > section { break-inside: avoid; }
  .scroll { overflow: visible; font-size: .8rem; }
  .confusion td { min-width: 0; padding: .3rem .15rem; font-size: min(.8rem, calc(13rem / var(--columns))); }
  .confusion th { font-size: min(.78rem, calc(20rem / var(--columns))); }
  .scroll thead th { white-space: normal; vertical-align: bottom; } .scroll .range { min-width: 4rem; } }
"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model came about, as its run folder tells.

    Attributes:
        photos: The folder it learnt from, where that is known.
        parts: Pictures and groups of each part of the split.
        rule: How groups were found.
        unread: Pictures that there was no time to read.
        lines: Of the metrics, one for each epoch.
        findings: What was said of how the training does.
        effort: What it took, where that was written down.
        command: That trains again.
    """

    photos: str | None
    parts: Mapping[str, tuple[int, int]]
    rule: str
    unread: int = 0
    lines: Sequence[Mapping[str, float]] = ()
    findings: Sequence[str] = ()
    effort: Effort | None = None
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that a report says.

    Attributes:
        model: The model file.
        photos: The folder whose pictures were scored.
        scored: Which of its pictures these are, in words.
        card: What the model file says of itself.
        scores: Of the model.
        gallery: The worst and the best of the pictures.
        leaks: What training saw of these pictures.
        remarks: What else a reader must know.
        effort: What the scoring took.
        training: How the model came about; None where nothing is known.
        options: Of the command that scores again.
    """

    model: Path
    photos: str
    scored: str
    card: ModelCard
    scores: Scores
    gallery: Gallery
    leaks: Sequence[str] = ()
    remarks: Sequence[str] = ()
    effort: Effort | None = None
    training: Training | None = None
    options: Sequence[str] = ()


def write_report(path: Path, report: Report) -> None:
    """Write the page.

    Raises:
        OSError: It cannot be written.
    """
    write_text(path, draw_report(report))


def draw_report(report: Report) -> str:
    """The whole document."""
    scores = report.scores
    sections = [
        _header(report),
        _cards(scores),
        _scores(scores),
        _classes(scores),
        _confusion(scores, report.card.class_names),
        draw_walls(
            {"Worst pictures": report.gallery.worst(), "Best pictures": report.gallery.best()}, report.gallery.labels
        ),
        _pictures(scores.pictures),
        _probabilities(scores, report.card.threshold),
        _origin(report),
        _curves(report.training),
        _effort(report),
        _commands(report),
        draw_definitions(DEFINITIONS),
    ]
    hint = "" if plots.can_plot() else tag("p", NO_PLOTS)
    versions = ", ".join(f"{name} {version}" for name, version in report.card.versions.items())
    footer = tag("footer", hint, tag("p", f"Model file made by {versions}." if versions else "Written by maskwright."))
    style = plots.STYLE + gallery.STYLE + STYLE
    return page(f"{_name(report)}: report", *sections, footer, style=style, script=gallery.SCRIPT)


# --- What was measured


def _header(report: Report) -> Html:
    scores = report.scores
    if np.isnan(scores.dice.mean):
        verdict, colour = "Nothing could be scored: neither masks nor predictions show anything.", "warning"
    else:
        verdict = f"Dice {_figure(scores.dice.mean, 'dice')} on {_count(scores)}"
        colour = "problem" if any(map(is_leak, report.leaks)) else "fill"
    return tag(
        "header",
        tag("p", "maskwright report", class_="eyebrow"),
        tag("h1", _name(report)),
        tag("p", f"Scored on {report.scored}, each at its own size", class_="soft"),
        tag("p", verdict, class_="verdict", style=f"color:var(--{colour})"),
        *(tag("p", leak, class_="leak") for leak in report.leaks),
        *(tag("p", remark, class_="remark") for remark in report.remarks),
    )


def _name(report: Report) -> str:
    """What to call the model: its folder, where the file is called as in all of them."""
    whole = report.model.resolve()
    return whole.parent.name if whole.stem == "model" else whole.stem


def _count(scores: Scores) -> str:
    return f"{_plural(len(scores.pictures), 'picture')} of {_plural(scores.groups, 'group')}"


def _plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _figure(value: float, measure: str) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" if measure == "hausdorff_95" else f"{value:.4f}"


def _range(interval: Interval, measure: str) -> str:
    if np.isnan(interval.low):
        return "none: a single group" if not np.isnan(interval.mean) else "–"
    return f"{_figure(interval.low, measure)} to {_figure(interval.high, measure)}"


def _cards(scores: Scores) -> Html:
    cards = []
    for measure in HEADLINE:
        interval: Interval = getattr(scores, measure)
        pictures, groups = _counted(scores.pictures, measure)
        words = (
            TITLES[measure],
            f"95 %: {_range(interval, measure)}",
            f"{_plural(pictures, 'picture')}, {_plural(groups, 'group')}",
        )
        lines = [tag("span", word, class_="soft") for word in words]
        cards.append(tag("div", tag("b", _figure(interval.mean, measure)), *lines, class_="card"))
    return tag("div", *cards, class_="cards")


def _counted(pictures: Sequence[PictureScore], measure: str) -> tuple[int, int]:
    """On how many pictures of how many groups a mean rests."""
    groups = [picture.group for picture in pictures if not np.isnan(getattr(picture, measure))]
    return len(groups), len(set(groups))


def _range_bar(interval: Interval) -> Html:
    """The interval and its mean between 0 and 1."""
    if np.isnan(interval.mean):
        return Html()
    mean = tag("b", style=f"left:{100 * interval.mean:.2f}%")
    if np.isnan(interval.low):
        return tag("div", mean, class_="range")
    width = max(1.0, 100 * (interval.high - interval.low))
    return tag("div", tag("i", style=f"left:{100 * interval.low:.2f}%;width:{width:.2f}%"), mean, class_="range")


def draw_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1, last_text: bool = False
) -> Html:
    """A table whose first columns are text and whose others are figures."""

    def kind(place: int) -> str | None:
        return None if place < text or (last_text and place == len(headings) - 1) else "figure"

    head = tag("tr", *(tag("th", word, class_=kind(place), scope="col") for place, word in enumerate(headings)))
    body = [tag("tr", *(tag("td", cell, class_=kind(place)) for place, cell in enumerate(row))) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")


def _scores(scores: Scores) -> Html:
    rows = []
    for measure, title in TITLES.items():
        interval: Interval = getattr(scores, measure)
        in_bar = "" if measure == "hausdorff_95" else _range_bar(interval)
        rows.append(
            (
                title,
                _figure(interval.mean, measure),
                _range(interval, measure),
                *(f"{number:,}" for number in _counted(scores.pictures, measure)),
                in_bar,
            )
        )
    table = draw_table(("score", "mean", "95 % interval", "pictures", "groups", "from 0 to 1"), rows, last_text=True)
    said = tag("p", "Means over pictures, intervals over groups. Lower is better for the last three.", class_="soft")
    problems = [tag("li", problem.sentence) for problem in scores.problems]
    listed = tag("details", tag("summary", f"Not scored: {len(problems)}"), tag("ul", *problems)) if problems else ""
    return tag("section", tag("h2", "Scores"), tag("div", table, said, listed, class_="panel"))


def _classes(scores: Scores) -> Html:
    if len(scores.classes) < 2:
        return Html()
    rows = [
        (
            row.name,
            *(_figure(getattr(row, measure).mean, measure) for measure in HEADLINE),
            _range(row.dice, "dice"),
            f"{row.pictures:,}",
            _range_bar(row.dice),
        )
        for row in scores.classes
    ]
    headings = ("class", *(TITLES[measure] for measure in HEADLINE), "interval of Dice", "pictures", "from 0 to 1")
    return tag("section", tag("h2", "Classes"), tag("div", draw_table(headings, rows, last_text=True), class_="panel"))


def _confusion(scores: Scores, names: Sequence[str]) -> Html:
    """Of the pixels of each class, what they were called."""
    if not any(map(sum, scores.confusion)):
        return Html()
    many = "many" if len(names) > 4 else None
    head = tag("tr", tag("td", "", style="--heat:0%;background:none"), *(_column(name) for name in names), class_=many)
    rows = []
    for index, (name, counts) in enumerate(zip(names, scores.confusion, strict=True)):
        whole = sum(counts)
        cells = [
            tag(
                "td",
                _share(count, whole),
                style=f"--heat:{60 * count / whole if whole else 0:.0f}%",
                class_="own" if place == index else None,
                title=f"{count:,} pixels of {name} were called {names[place]}",
            )
            for place, count in enumerate(counts)
        ]
        rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    caption = (
        "Rows: what pixels are. Columns: what they were called, in percent of the row, over all pictures together."
    )
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="confusion", style=f"--columns:{len(names)}")
    return tag(
        "section",
        tag("h2", "What was taken for what"),
        tag("div", tag("div", table, class_="scroll"), tag("p", caption, class_="soft"), class_="panel"),
    )


def _column(name: str) -> Html:
    return tag("th", tag("span", name), scope="col")


def _share(count: int, whole: int) -> str:
    if not whole:
        return "–"
    share = 100 * count / whole
    return "0" if not count else "<0.1" if share < 0.05 else f"{share:.1f}"


def _pictures(pictures: Sequence[PictureScore]) -> Html:
    if not pictures:
        return Html()
    plot = plots.plot_pictures(pictures) if plots.can_plot() else None
    ordered = sorted(pictures, key=lambda picture: (math.isnan(picture.dice), picture.dice))
    rows = [
        (picture.name, picture.group, *(_figure(getattr(picture, of), of) for of in HEADLINE))
        for picture in ordered[:MOST_ROWS]
    ]
    table = draw_table(("picture", "group", *(TITLES[of] for of in HEADLINE)), rows, text=2)
    more = f", the worst {MOST_ROWS} of them" if len(ordered) > MOST_ROWS else ""
    dices = [picture.dice for picture in pictures if not np.isnan(picture.dice)]
    spread = ""
    if dices:
        low, middle, high = np.quantile(dices, (0.1, 0.5, 0.9))
        spread = tag(
            "p", f"A tenth lies below {low:.4f}, half below {middle:.4f}, a tenth above {high:.4f}.", class_="soft"
        )
    return tag(
        "section",
        tag("h2", "Each picture"),
        tag("div", plot, class_="plots one") if plot else "",
        spread,
        tag("details", tag("summary", f"All pictures as a table{more}"), table),
    )


def _probabilities(scores: Scores, threshold: float) -> Html:
    if scores.calibration is None:
        return Html()
    drawn = []
    if plots.can_plot():
        drawn.append(plots.plot_calibration(scores.calibration))
        if scores.sweep:
            drawn.append(plots.plot_thresholds(scores.sweep, threshold))
    said = [
        f"Calibration error {scores.calibration.error:.4f}: so far, on average over pixels, is a probability from how "
        "often it comes true."
    ]
    if scores.sweep and scores.sweep.best is not None:
        dice, _ = scores.sweep.at(scores.sweep.best)
        said.append(
            f"The best threshold on validation pictures is {scores.sweep.best:g} (Dice {dice:.4f}); the model's is "
            f"{threshold:g}."
        )
    elif scores.sweep:
        said.append(
            "No threshold was chosen: none of these pictures is one that the best weights were chosen on, and one "
            "that is chosen on the pictures it is judged by says nothing."
        )
    return tag(
        "section",
        tag("h2", "Probabilities"),
        tag("div", *drawn, class_="plots") if drawn else "",
        *(tag("p", sentence, class_="soft") for sentence in said),
        _bins(scores.calibration),
    )


def _bins(calibration: Calibration) -> Html:
    rows = [(f"{of.probability:.3f}", f"{of.frequency:.3f}", f"{of.share:.2%}") for of in calibration.bins]
    table = draw_table(("probability", "came true", "of all pixels"), rows, text=0)
    return tag("details", tag("summary", "As a table"), table)


# --- Where it comes from


def _facts(rows: Iterable[tuple[str, str | None]]) -> Html:
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows if value]
    return tag("table", tag("tbody", *lines), class_="facts")


def _origin(report: Report) -> Html:
    """What was trained on what, and the split."""
    card, training = report.card, report.training
    architecture = card.architecture
    learnt = "Not known: the model was trained elsewhere."
    if not card.is_imported:
        learnt = f"{len(card.trained_on):,} pictures; {len(card.chosen_on):,} more chose the best weights"
    wished = [
        f"{length:g} {unit[: -1 if length == 1 else None]}"
        for unit in ("minutes", "epochs")
        if (length := card.settings.get(unit))
    ]
    rows = [
        ("learnt from", learnt),
        ("folder", training.photos if training else None),
        ("classes", ", ".join(card.class_names)),
        (
            "network",
            f"{architecture.in_words()}, {architecture.base_channels} channels, pictures {card.resize.in_words()}",
        ),
        ("started from", card.parent.name if card.parent else None),
        ("asked for", ", ".join(wished) or None),
        ("loss", card.settings.get("loss")),
        ("scored on", f"{report.scored}: {_count(report.scores)}"),
    ]
    return tag(
        "section",
        tag("h2", "What was trained on what"),
        tag("div", _facts(rows), _split(training) if training else "", class_="panel"),
    )


def _split(training: Training) -> Html:
    parts = training.parts
    stack = tag("div", *(tag("div", style=f"flex:{pictures}") for pictures, _ in parts.values()), class_="stack")
    rows = [(part, f"{pictures:,}", f"{groups:,}") for part, (pictures, groups) in parts.items()]
    said = [f"{training.rule[:1].upper()}{training.rule[1:]}."]
    if training.unread:
        said.append(f"{training.unread:,} more pictures were left out: there was no time to read them.")
    return tag(
        "div",
        tag("h3", "Split"),
        stack,
        draw_table(("part", "pictures", "groups"), rows),
        *(tag("p", sentence, class_="soft") for sentence in said),
    )


def _curves(training: Training | None) -> Html:
    if training is None or not training.lines:
        return Html()
    drawn = plots.plot_curves(training.lines) if len(training.lines) > 1 and plots.can_plot() else []
    names = ("train_loss", "val_loss", "train_dice", "val_dice", "learning_rate", "seconds")
    rows = [
        (f"{line['epoch']:g}", *(f"{line[name]:.4g}" if name in line else "–" for name in names))
        for line in training.lines[-MOST_ROWS:]
    ]
    table = draw_table(("epoch", *(name.replace("_", " ") for name in names)), rows, text=0)
    count = len(training.lines)
    last = f", the last {MOST_ROWS} of {count:,}" if count > MOST_ROWS else ""
    return tag(
        "section",
        tag("h2", "How it learnt"),
        tag("div", *drawn, class_="plots") if drawn else "",
        *(tag("p", finding, class_="remark") for finding in training.findings),
        tag("details", tag("summary", f"All epochs as a table{last}"), table, open=None if drawn else ""),
    )


def _effort(report: Report) -> Html:
    """Time, memory and machine."""
    training = report.training
    columns = {"Training": training.effort if training else None, "Scoring": report.effort}
    known = {name: effort for name, effort in columns.items() if effort is not None}
    if not known:
        return Html()
    panels = []
    for name, effort in known.items():
        machine = effort.machine
        lines = training.lines if training and name == "Training" else ()
        pictures = len(report.scores.pictures)
        each = f", {effort.seconds / pictures:.2f} s a picture" if name == "Scoring" and pictures else ""
        rows = [
            ("time", f"{_duration(effort.seconds)}{each}"),
            (
                "epochs",
                f"{lines[-1]['epoch']:g}, {lines[-1]['step']:g} steps" if lines and "step" in lines[-1] else None,
            ),
            ("memory", f"{effort.peak_memory / 1e9:.2f} GB at most" if effort.peak_memory else "not known"),
            ("computed by", machine.device),
            ("processor", f"{machine.processor}, {machine.cores} cores"),
            ("main memory", f"{machine.memory / 1e9:.1f} GB" if machine.memory else None),
            ("system", machine.system),
            ("versions", ", ".join(f"{package} {version}" for package, version in machine.versions.items())),
        ]
        panels.append(tag("section", tag("h3", name), tag("div", _facts(rows), class_="panel")))
    return join(tag("h2", "Time, memory and machine"), tag("div", *panels, class_="two"))


def _duration(seconds: float) -> str:
    """Seconds in words.

    >>> _duration(7.25), _duration(605)
    ('7.2 s', '10 min 5 s')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _commands(report: Report) -> Html:
    model = str(report.model)
    commands = []
    if report.training and report.training.command:
        commands.append(("Train it again", report.training.command))
    commands += [
        ("Score it again", shlex.join(["maskwright", "evaluate", model, report.photos, *report.options])),
        ("Use it", f"{shlex.join(['maskwright', 'predict', model])} PICTURES"),
    ]
    timed = report.card.settings.get("minutes") is not None
    said = (
        "A training by minutes takes as many steps as its machine manages, so that it gives other weights each time; "
        "one by --epochs repeats itself."
    )
    return tag(
        "section",
        tag("h2", "Commands to reproduce this"),
        *(join(tag("p", title, class_="soft"), _command(command)) for title, command in commands),
        tag("p", said, class_="soft") if timed and report.training else "",
    )


def _command(command: str) -> Html:
    """A command, whose lines break between its words only."""
    return tag("pre", Html(" ".join(tag("span", word) for word in command.split(" "))))


def draw_definitions(definitions: str) -> Html:
    """The words that the figures stand for."""
    lines = [tag("p", line) for line in definitions.splitlines()]
    return tag("section", tag("h2", "Definitions"), tag("div", *lines, class_="definitions soft"))
