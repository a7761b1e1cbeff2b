"""What `maskwright check` says of broken and hostile data: a sentence for each, and never much memory."""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskwright.cli import main
from tests.hostile_corpus import CASES, coco, four_pairs, three_pairs, two_drawings, write_corpus

MOST_MEGABYTES = 1000
FEWEST_SENTENCES = 60

# Checks what it is told to and prints a line of JSON for each. All in one process, so that what one leaves behind may
# harm the next; warnings count as errors.
CHECK_ALL = """
import contextlib, io, json, sys, traceback
from pathlib import Path
from maskwright.cli import main

def peak():
    status = Path("/proc/self/status")
    words = status.read_text().split() if status.exists() else ["VmHWM:", 0]
    return int(words[words.index("VmHWM:") + 1]) // 1024

for target, out in json.load(sys.stdin):
    if peak():
        Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
    code = None
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as warned:
        try:
            code = main(["check", target, "--json", "--out", out])
        except BaseException:
            traceback.print_exc()
    print(json.dumps([code, said.getvalue(), warned.getvalue(), peak()]), flush=True)
"""


@dataclass(frozen=True)
class Answer:
    """What was said of a data set.

    Attributes:
        code: That the command ended with; None after an exception.
        told: The sentences, with the files that they are about.
        noise: Whatever else was printed.
        megabytes: The most that it took.
    """

    code: int | None
    told: str
    noise: str
    megabytes: int
    target: Path
    out: Path


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("hostile")
    targets = write_corpus(folder / "corpus")
    outs = [folder / "out" / target.relative_to(folder / "corpus").parts[0] for target in targets.values()]
    orders = [(str(target), str(out)) for target, out in zip(targets.values(), outs, strict=True)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHECK_ALL],
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        timeout=1200,  # on an idle machine it takes 20
        check=True,
    )
    assert done.stderr == ""
    lines = map(json.loads, done.stdout.splitlines())
    return {
        name: read_answer(*line, target=target, out=out)
        for (name, target), line, out in zip(targets.items(), lines, outs, strict=True)
    }


def read_answer(code: int | None, said: str, warned: str, megabytes: int, *, target: Path, out: Path) -> Answer:
    findings = [finding for finding in json.loads(said)["findings"] if finding["level"] != "note"] if said else []
    told = [
        " ".join([finding["sentence"], *(f"{file}: {sentence}." for file, sentence in finding["files"].items())])
        for finding in findings
    ]
    # Progress is nothing that is said.
    others = [line for line in warned.splitlines() if " s left)" not in line]
    if said:
        return Answer(code, "\n".join(told), "\n".join(others), megabytes, target, out)
    return Answer(code, "\n".join(others), "", megabytes, target, out)


@pytest.mark.parametrize("name", CASES)
def test_each_has_a_sentence_that_names_it(name: str, answers: dict[str, Answer]) -> None:
    case, answer = CASES[name], answers[name]
    assert "Traceback" not in answer.told + answer.noise
    assert answer.noise == ""
    assert answer.code == case.code, answer.told
    if case.code == 0:
        assert answer.told == ""
    else:
        assert case.words in answer.told
        assert (str(answer.target) if case.name == "." else case.name) in answer.told
    if case.code == 2:  # ends without a report, or with one that says that nothing can be used
        assert answer.told.count("\n") == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="its peaks of memory are asked of Linux")
@pytest.mark.parametrize("name", CASES)
def test_none_takes_much_memory(name: str, answers: dict[str, Answer]) -> None:
    assert 0 < answers[name].megabytes < MOST_MEGABYTES


def test_each_sentence_is_its_own(answers: dict[str, Answer]) -> None:
    """But for cases that are wrong in the same way, and say why that is right."""
    alike = defaultdict(list)
    for name, case in CASES.items():
        told = answers[name].told
        for path in (f"{answers[name].target}/", str(answers[name].target), "images/", "masks/"):
            told = told.replace(path, "")
        if case.code != 0:
            alike[told.replace(case.name, "")].append(name)
    shared = [names for names in alike.values() if len(names) > 1]
    unexplained = [names for names in shared if len({CASES[name].kin or name for name in names}) > 1]
    assert unexplained == []
    assert len(alike) >= FEWEST_SENTENCES


def test_no_reason_to_share_a_sentence_is_idle() -> None:
    kin = [case.kin for case in CASES.values() if case.kin]
    assert [reason for reason in set(kin) if kin.count(reason) < 2] == []


def test_the_surroundings_are_healthy(tmp_path: Path) -> None:
    """So whatever is said is said of the hostile thing."""
    drawn, paired, listed = (tmp_path / name for name in ("drawn", "paired", "listed"))
    for folder, write in ((drawn, two_drawings), (paired, four_pairs), (listed, three_pairs)):
        folder.mkdir()
        write(folder)
    (drawn / "c.png").unlink()
    (listed / "instances.json").write_text(json.dumps(coco()), encoding="utf-8")
    for folder in (drawn, paired, listed):
        assert main(["check", str(folder), "--out", str(tmp_path / "out" / folder.name)]) == 0


def test_a_name_is_no_code_on_the_page(answers: dict[str, Answer]) -> None:
    page = (answers["name of code for a page"].out / "check.html").read_text(encoding="utf-8")
    assert "onerror=alert(1)" in page
    assert "<img src=x" not in page


def test_a_name_gives_no_order_to_the_terminal(
    answers: dict[str, Answer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(answers["name that moves the cursor"].target), "--out", str(tmp_path / "out")]) == 1
    assert "\x1b" not in capsys.readouterr().out
