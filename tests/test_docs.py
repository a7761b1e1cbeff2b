"""The documentation says what there is."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from maskwright import cli
from maskwright.config import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_command_comes_early_and_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert "make demo" in "\n".join(lines[:25])
    assert len(lines) <= 150


@pytest.mark.parametrize("word", sorted(cli.WORDS))
def test_the_readme_names_every_command(word: str) -> None:
    assert f"maskwright {word}" in README


def test_the_readme_names_no_option_that_does_not_exist() -> None:
    ours = re.sub(r"pip install.*", "", README)
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", ours))
    settings = {field.name.replace("_", "-") for field in dataclasses.fields(Settings)}
    known = settings | {
        "preset",
        "resume",
        "out",
        "save",
        "help",
        "everything",
        "json",
        "fix",
        "from",
        "to",
        "int8",
        "compare",
        "gpus",
    }
    known |= {"data", "batchsize", "lr", "stepsize"}
    assert named - known - {"index-url"} == set()


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
