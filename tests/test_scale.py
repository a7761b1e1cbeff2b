"""docs/scale.md: its scripts are shell and YAML, and the words in them are ours and torchrun's."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from torch.distributed.run import parse_args

from maskwright.cli import main

PAGE = (Path(__file__).parents[1] / "docs/scale.md").read_text(encoding="utf-8")
TRAINING = PAGE.partition("## Training on several GPUs and machines")[2].partition("\n## ")[0]
# What a cluster would say in their place.
KNOWN = {"SLURM_NNODES": "2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NUM_GPUS_PER_NODE": "4", "first": "node1"}


def fenced(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TRAINING, flags=re.DOTALL)


def documents() -> list[dict[str, Any]]:
    return [document for text in fenced("yaml") for document in yaml.safe_load_all(text)]


def scripts() -> list[str]:
    return [*fenced("bash"), *(document["run"] for document in documents() if "run" in document)]


def commands() -> list[list[str]]:
    """Every command in which torchrun or maskwright trains, in words."""
    in_shell = "\n".join([*scripts(), *re.findall(r"^    ((?:torchrun|maskwright) .*)$", TRAINING, flags=re.MULTILINE)])
    lines = re.findall(r"(?:torchrun|maskwright train)\b.*", in_shell.replace("\\\n", " "))
    found = [shlex.split(_filled_in(line), comments=True) for line in lines]
    containers = [container for document in documents() for container in _containers(document)]
    return [*found, *(container["command"] for container in containers)]


def _filled_in(line: str) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda name: KNOWN.get(name[1], name[1].lower()), line.rstrip("& "))


def _containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    return found


def test_the_page_has_what_it_promises() -> None:
    assert len(scripts()) == 2
    assert [document.get("kind") for document in documents()] == ["Service", "Job", None]
    assert len(commands()) == 6


@pytest.mark.parametrize("script", scripts(), ids=["slurm", "skypilot"])
def test_scripts_are_shell(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("command", commands(), ids=lambda command: command[0])
def test_words_are_torchruns_and_ours(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = command[1:]
    if command[0] == "torchrun":
        parsed = parse_args(words)  # type: ignore[no-untyped-call]
        assert (parsed.module, parsed.training_script) == (True, "maskwright")
        words = parsed.training_script_args
    monkeypatch.chdir(tmp_path)
    words = [word.replace("/shared", str(tmp_path)) for word in words]
    for option in {"--gpus", "--processes"} & set(words):  # tests/commands/test_train_together.py has them
        del words[words.index(option) : words.index(option) + 2]
    # Words that do not exist are said before it is looked for pictures, and end the process.
    assert main(words) == 2
    assert "photos" in capfd.readouterr().err
