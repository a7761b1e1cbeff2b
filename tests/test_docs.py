"""The documentation says what there is, and what it says to type works.

Commands of the README and of the guides run as they are written, in a folder of small drawn cars. Paths lie in that
folder, minutes, counts and sizes are small, those of drawn pictures too, and nothing else is replaced. What sets an
environment up (make, pip, venv) would need a network: `.ci/run` does it from a clean checkout, and here its names are
checked. The original commands run in tests/commands/test_original.py.
"""

import contextlib
import dataclasses
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import maskwright
from docs.drawings.unet import DRAWINGS, PICTURES
from docs.site import commands as reference
from maskwright import cli
from maskwright.commands import demo
from maskwright.config import Settings
from tests.commands import test_original
from tests.commands.test_serve import serving

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
EVERY_PAGE = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", flags=re.MULTILINE | re.DOTALL)
SMALL = {
    r"--minutes [\d.]+": "--minutes 0.03",
    r"minutes=[\d.]+": "minutes=0.03",
    r"--epochs \d+": "--epochs 1",
    r"\bmaskwright demo\b": "maskwright demo --minutes 0.03 --cars 2",
    r"--size \d+": "--size 64",
}
# What all pages stand on; each runs once, whichever page says it first.
FIRST = ("maskwright train photos/ --minutes 20 --out runs/mine", "maskwright demo --out cars")
VIEWS = ("_01", "_05", "_09", "_13")
SETTING_UP = ("make", "pip", "python3")
# These have tests of their own, which run them as they are written.
ORIGINAL = (test_original.TRAINING, test_original.INFERENCE)


@dataclasses.dataclass
class Stage:
    """A folder that commands run in, and what has been run there."""

    folder: Path
    done: set[str] = dataclasses.field(default_factory=set)
    port: int = 0


def blocks_of(page: Path) -> list[tuple[str, str, bool]]:
    """Language and text of each block, and whether a block follows at once."""
    text = page.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)][: len(found)]
    return [
        (match[2], re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE), not text[match.end() : end].strip())
        for match, end in zip(found, ends, strict=True)
    ]


def commands_of(text: str) -> list[str]:
    """The commands of a block, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def stage(drawn_cars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("guides")
    shutil.copytree(drawn_cars, folder / "photos")
    (folder / "new").mkdir()
    pictures = sorted((folder / "photos/train").iterdir())
    for picture in pictures[:2]:
        shutil.copy(picture, folder / "new")
    for name in ("car.jpg", "photo.jpg"):
        shutil.copy(pictures[0], folder / name)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "WIDTH", 96)
        patch.setattr(demo, "HEIGHT", 64)
        found = Stage(folder)
        for command in FIRST:
            run(command, found)
        for picture in (folder / "cars").glob("*/train/*.jpg"):  # enough views for the pages
            if not picture.stem.endswith(VIEWS):
                picture.unlink()
                (picture.parents[1] / "train_masks" / f"{picture.stem}_mask.png").unlink()
        yield found


def run(command: str, stage: Stage) -> None:
    """One command, small; one that has been run already is not run again."""
    if command in {*stage.done, *ORIGINAL}:
        return
    stage.done.add(command)
    for pattern, replacement in SMALL.items():
        command = re.sub(pattern, replacement, command)
    words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{stage.port}"))
    match words[0]:
        case "maskwright" if {"--processes", "--runner"} & {*words}:  # they start others, and change their own process
            subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL)
        case "maskwright":
            assert cli.main(words[1:]) in ((0, 1) if words[1] == "check" else (0,)), command
        case "python" if words[1].startswith("docs/"):
            run_script(words[1:])
        case "curl" if "/v1/collect" in command:  # a handful of pictures, as the guide says
            for picture in sorted((stage.folder / "photos/train").iterdir()):
                # Drawn masks have soft outlines; what a brush, or a threshold, leaves has none.
                mask = stage.folder / f"{picture.stem}_brushed.png"
                with Image.open(stage.folder / "photos/train_masks" / f"{picture.stem}_mask.png") as soft:
                    soft.convert("L").point(lambda value: 255 if value > 127 else 0).save(mask)
                given = [word.replace("@car.jpg", f"@{picture}").replace("@mask.png", f"@{mask}") for word in words]
                subprocess.run([*given, "--fail", "--silent"], check=True, stdout=subprocess.DEVNULL)
        case "curl":
            subprocess.run([*words, "--fail", "--silent"], check=True, stdout=subprocess.DEVNULL)
        case first if first in SETTING_UP:
            check_set_up(command)
        case _:
            pytest.fail(f"nobody knows how to try: {command}")


def run_script(words: list[str]) -> None:
    """A script of the repository, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        try:
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        except SystemExit as ended:
            assert ended.code == 0, words  # noqa: PT017 - a script ends so, whether it went well or not


def check_set_up(command: str) -> None:
    """What would need a network: targets are there, pins are those of requirements.txt, extras exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "requirements.txt").read_text()
    for target in re.findall(r"\bmake (\w[\w-]*)", command):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for pin in re.findall(r"\b(\w+==[\d.]+)", command):
        assert pin in pins
    for extra in re.findall(r"\.\[(\w+)\]", command):
        assert extra in project["optional-dependencies"]
    for file in re.findall(r" -r (\S+)", command):
        assert (ROOT / file).is_file()


def test_the_demo_leaves_pictures_a_model_scores_and_panels(stage: Stage) -> None:
    folder = stage.folder / "cars"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["unseen_cars"], summary["unseen_pictures"]) == (2, 32)
    assert 0 < summary["dice"] < 1
    assert (folder / "run" / "curves.png").is_file()
    assert list((folder / "predictions").glob("*_panel.png"))
    cars = [{path.name[:12] for path in (folder / part / "train").iterdir()} for part in ("photos", "unseen")]
    assert len(cars[0]) == len(cars[1]) == 2
    assert not cars[0] & cars[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run_as_they_are_written(page: Path, stage: Stage) -> None:
    namespace: dict[str, Any] = {}
    printed = ""
    is_output = False
    with contextlib.ExitStack() as servers:
        for language, text, is_followed in blocks_of(page):
            match language:
                case "sh":
                    for command in commands_of(text):
                        if command.startswith("maskwright serve"):
                            _, stage.port = servers.enter_context(serving(*shlex.split(command)[2:]))
                        else:
                            run(command, stage)
                case "python":
                    small = re.sub(r"minutes=\d+", SMALL[r"minutes=[\d.]+"], text)
                    with contextlib.redirect_stdout(io.StringIO()) as out:
                        exec(compile(small, str(page), "exec"), namespace)  # noqa: S102 - what the page shows
                    printed = out.getvalue()
                case "text" if is_output:
                    assert printed.strip() == text.strip()
            is_output = language == "python" and is_followed


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """The options of each command, as its help lists them."""
    found = {}
    for word in cli.WORDS:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
            cli.main([word, "--help"])
        found[word] = set(re.findall(r"^[│ ] (?:-h, )?(--[a-z][a-z0-9-]*)", out.getvalue(), flags=re.MULTILINE))
    return found


def test_the_reference_is_that_of_this_version() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run `make reference`"


def test_the_reference_has_every_option_of_every_command(options: dict[str, set[str]]) -> None:
    text = reference.PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    for word, known in options.items():
        own = sections[f"maskwright {word}"]
        linked = [heading for heading in sections if f"#{heading.lower().replace(' ', '-')})" in own]
        if "Settings of training" in linked:
            linked.append("What masks mean")
        described = own + "".join(sections[heading] for heading in linked)
        assert len(known) > 3
        assert {option for option in known if f"`{option}" not in described} <= {"--help"}, word


def test_the_reference_has_every_setting() -> None:
    text = reference.PAGE.read_text(encoding="utf-8")
    for field in dataclasses.fields(Settings):
        word = field.name.replace("_", "-")
        assert re.search(rf"`--(no-)?{word}[ `]", text), field.name


def test_the_reference_has_every_variable_of_the_environment() -> None:
    text = reference.PAGE.read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    for variable in set(re.findall(r"(?<!_)MASKWRIGHT_[A-Z_]+", source)):
        assert f"`{variable}`" in text


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_blocks_have_options_that_exist(page: Path, options: dict[str, set[str]]) -> None:
    for language, text, _ in blocks_of(page):
        for line in text.splitlines() if language == "sh" else ():
            for word, rest in re.findall(r"maskwright (\w+)(.*)", line.partition(" #")[0]):
                named = set(re.findall(r"(?<=\s)--[a-z][a-z0-9-]+", rest))
                assert named <= options[word], line


def test_drawings_of_the_network_show_the_network() -> None:
    for name, draw in DRAWINGS.items():
        drawn, committed = (re.sub(r"base64,[^\"]+", "", text) for text in (draw(), (PICTURES / name).read_text()))
        assert drawn == committed, f"{name}: run docs/drawings/unet.py"


def test_the_page_in_python_names_everything_public() -> None:
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert set(re.findall(r"auto\w+:: maskwright\.(\w+)", text)) == set(maskwright.__all__)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        cli.main(["--completion", "bash"])
    script = capsys.readouterr().out
    for words, completed in ((("maskwright", "ev"), "evaluate"), (("maskwright", "train", "--batch"), "--batch-size")):
        ask = (
            f'\nCOMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _tyro_maskwright; echo "${{COMPREPLY[@]}}"'
        )
        answer = subprocess.run(["bash", "-c", script + ask], capture_output=True, text=True, check=True)
        assert completed in answer.stdout.split()


def test_the_first_command_comes_early_and_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert "make demo" in "\n".join(lines[:25])
    assert len(lines) <= 150


@pytest.mark.parametrize("word", sorted(cli.WORDS))
def test_the_readme_names_every_command(word: str) -> None:
    assert f"maskwright {word}" in README


def test_the_original_commands_are_tested_as_the_readme_has_them() -> None:
    shown = [command for _, text, _ in blocks_of(ROOT / "README.md") for command in commands_of(text)]
    assert [command for command in shown if re.match(r"python (trainuNet|inference)\.py", command)] == [*ORIGINAL]


def test_the_readme_names_no_option_that_does_not_exist(options: dict[str, set[str]]) -> None:
    ours = re.sub(r"pip install.*", "", README)
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]+)", ours))
    known = set.union(*options.values()) | {"--data", "--batchsize", "--lr", "--stepsize"}
    assert named - known - {"--index-url"} == set()


def test_pictures_in_the_readme_exist() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()


def test_pins_meet_what_the_package_asks_for() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {*project["dependencies"], *extras["train"], *extras["coco"], *extras["tiff"]} - {"maskwright[coco,tiff]"}
    assert {re.split(r"[>=]", requirement)[0] for requirement in asked} == set(pins)


def test_every_setting_is_documented() -> None:
    source = (ROOT / "src/maskwright/config.py").read_text(encoding="utf-8")
    for field in dataclasses.fields(Settings):
        assert re.search(rf'^    {field.name}: .*\n    """', source, flags=re.MULTILINE), field.name
