"""The command line: words, exit codes, and one sentence for whatever cannot be used."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright import cli
from maskwright.cli import main
from maskwright.config import read_preset, read_settings
from maskwright.inference.model_file import load_model, save_model
from tests.parsed_pages import parse

TRAIN = ["--preset", "classic", "--base-channels", "8", "--depth", "2", "--size", "64", "--epochs", "1"]


@pytest.fixture(scope="module")
def drawn(drawn_cars: Path) -> Path:
    return drawn_cars


@pytest.fixture(scope="module")
def model(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "out"
    assert main(["train", str(drawn), "--out", str(folder), *TRAIN]) == 0
    return folder / "model.safetensors"


@pytest.fixture
def photos(drawn: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    folder = tmp_path / "photos"
    shutil.copytree(drawn, folder)
    return folder


def an_image(photos: Path) -> Path:
    return sorted((photos / "train").iterdir())[0]


def its_mask(photos: Path) -> Path:
    return photos / "train_masks" / f"{an_image(photos).stem}_mask.png"


def empty_folder(photos: Path) -> str:
    shutil.rmtree(photos)
    photos.mkdir()
    return photos.name


def missing_folder(photos: Path) -> str:
    shutil.rmtree(photos)
    return photos.name


def image_without_mask(photos: Path) -> str:
    its_mask(photos).unlink()
    return an_image(photos).name


def two_masks(photos: Path) -> str:
    shutil.copy(its_mask(photos), its_mask(photos).with_suffix(".bmp"))
    return f"{its_mask(photos).stem}.bmp"


def truncated_jpeg(photos: Path) -> str:
    content = an_image(photos).read_bytes()
    an_image(photos).write_bytes(content[: len(content) // 2])
    return an_image(photos).name


def text_named_png(photos: Path) -> str:
    its_mask(photos).write_text("no picture")
    return its_mask(photos).name


def mask_of_another_shape(photos: Path) -> str:
    with Image.open(its_mask(photos)) as mask:
        mask.resize((64, 64)).save(its_mask(photos))
    return its_mask(photos).name


def more_than_two_classes(photos: Path) -> str:
    with Image.open(its_mask(photos)) as mask:
        mask.point(lambda value: value // 64).save(its_mask(photos))
    return its_mask(photos).name


@pytest.mark.parametrize(
    "spoil",
    [
        empty_folder,
        missing_folder,
        image_without_mask,
        two_masks,
        truncated_jpeg,
        text_named_png,
        mask_of_another_shape,
        more_than_two_classes,
    ],
)
def test_bad_pictures_give_a_sentence_that_names_the_file(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], str]
) -> None:
    culprit = spoil(photos)
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *TRAIN]) == 2
    said = capsys.readouterr().err
    sentences = [line for line in said.splitlines() if culprit in line]
    assert len(sentences) == 1
    assert sentences[0].endswith(".")
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--preset", "huge"], "huge"),
        (["--loss", "bce+hinge"], "hinge"),
        (["--size", "3"], "--size"),
        (["--minutes", "0"], "--minutes"),
        (["--group", "("], "--group"),
        (["--device", "tpu"], "--device"),
        (["--val-share", "1"], "--val-share"),
    ],
)
def test_bad_options_give_a_sentence_that_names_the_option(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], word: str
) -> None:
    assert main(["train", str(drawn), "--out", str(tmp_path / "run"), *options]) == 2
    assert word in capsys.readouterr().err


def test_help_needs_no_torch_and_no_numpy() -> None:
    code = "import sys; from maskwright.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print('loaded:', *sorted({'torch', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "train" in result.stdout
    assert result.stdout.rstrip().endswith("loaded:")


@pytest.mark.parametrize("word", ["demo", "train", "evaluate", "predict"])
def test_every_word_explains_every_option(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main([word, "--help"])
    assert ending.value.code == 0
    assert "--out" in capsys.readouterr().out


def test_a_model_to_start_from_brings_its_network_and_explicit_options_win(
    drawn: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(drawn), "--epochs", "1", "--from", str(model), "--out", str(tmp_path / "run")]
    assert main([*words, "--upsampling", "bilinear"]) == 0
    settings = read_settings(tmp_path / "run" / "config.toml")
    first = read_settings(model.with_name("config.toml"))
    assert (settings.encoder, settings.base_channels, settings.depth, settings.size) == ("none", 8, 2, first.size)
    assert settings.upsampling == "bilinear"
    assert settings.ema == read_preset("quick").ema
    assert "ups afresh, wholly or in part (upsampling bilinear instead of transposed)" in capsys.readouterr().err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1]  # half a model is not scored before it has learnt


def test_a_plan_from_a_model_is_one_of_its_network(
    drawn: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(drawn), "--epochs", "1", "--from", str(model), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    first = read_settings(model.with_name("config.toml"))
    assert (content["network"], content["base_channels"], content["size"]) == ("classic U-Net", 8, first.size)


def test_three_hours_or_more_take_the_preset_for_it(drawn: Path, tmp_path: Path) -> None:
    tiny = ["--encoder", "none", "--base-channels", "8", "--depth", "1", "--size", "32", "--no-overfit-check"]
    emas = []
    cases = {
        "long": ["--minutes", "180"],
        "short": ["--minutes=179.5"],
        "named": ["--preset", "best"],
        "twice": ["--preset", "quick", "--preset=best"],
        "again": ["--preset", "best", "--preset", "quick"],
    }
    for name, words in cases.items():
        assert main(["train", str(drawn), "--epochs", "1", *tiny, *words, "--out", str(tmp_path / name)]) == 0
        emas.append(read_settings(tmp_path / name / "config.toml").ema)
    assert emas == [read_preset(name).ema for name in ("best", "quick", "best", "best", "quick")]


@pytest.mark.parametrize("folds", [(), ("--folds", "2")])
def test_a_run_that_goes_on_on_another_machine_keeps_its_preset(
    folds: tuple[str, ...],
    drawn: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, words = tmp_path / "run", ["--encoder", "none", "--base-channels", "8", "--depth", "1", "--size", "32"]
    command = ["train", str(drawn), "--minutes", "0.05", *words, "--no-overfit-check", *folds, "--out", str(out)]
    monkeypatch.setattr(cli, "gpu_gigabytes", lambda: 24.0)
    assert main(command) == 0
    config = read_settings(next(out.rglob("config.toml")))
    assert config.ema == read_preset("best").ema
    monkeypatch.setattr(cli, "gpu_gigabytes", lambda: 0.0)
    assert main([*command, "--resume"]) == 0
    assert "is finished already" in capsys.readouterr().out
    assert main([*command, "--resume", "--preset", "quick"]) == 2
    assert f"--ema {config.ema}, not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("here", "words", "preset"),
    [
        (24.0, "--minutes 5", "best"),
        (24.0, "--minutes 5 --gpus 1", "best"),
        (24.0, "--minutes 5 --gpus 2", "quick"),  # each of the two asks by itself
        (24.0, "--minutes 5 --processes 1", "quick"),
        (24.0, "--minutes 5 --memory 4GB", "quick"),
        (4.0, "--minutes 5 --memory 24GB", "quick"),
        (0.0, "--minutes 5 --memory 24GB", "quick"),
        (0.0, "--minutes 5 --memory 24GB --device cuda", "best"),
        (0.0, "--minutes 5 --memory 4GB --device cuda:0", "quick"),
        (0.0, "--epochs 5 --memory 24GB --device cuda", "quick"),
    ],
)
def test_the_gpu_that_a_run_would_use_decides_about_its_preset(
    here: float, words: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "gpu_gigabytes", lambda: here)
    assert cli._unnamed_preset("plan", ["plan", "photos", *words.split()]) == preset


def test_an_option_that_makes_a_network_nothing_fits_is_named(
    drawn: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(drawn), "--out", str(tmp_path / "run"), "--epochs", "1", f"--from={model}"]
    assert main([*words, "--base-channels", "16"]) == 2
    assert f"No layer of {model} fits the network asked for (base_channels 16 instead of 8)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_missing_model_to_start_from_is_named(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(drawn), "--from", "no.safetensors"]) == 2
    assert "no.safetensors is not there" in capsys.readouterr().err


def test_an_unknown_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["trian"])
    assert ending.value.code == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("maskwright 0.")


@pytest.mark.parametrize("is_one_of_many", [False, True])
def test_a_process_of_several_leaves_before_threads_of_torch_can_abort_it(is_one_of_many: bool) -> None:
    script = "import atexit, os, runpy, sys; atexit.register(os.abort); sys.argv = ['maskwright', '--version']; "
    script += "runpy.run_module('maskwright', run_name='__main__')"
    rank = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_RANK": "1"} if is_one_of_many else {}
    environment = {**os.environ, **rank}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("maskwright ")
    assert (done.returncode == 0) is is_one_of_many


def test_a_missing_model_is_named(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "no.safetensors", str(drawn)]) == 2
    assert "no.safetensors" in capsys.readouterr().err


def test_evaluate_leaves_out_what_training_saw(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), str(drawn), "--out", str(tmp_path / "scores"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert len(printed["pictures"]) == 2
    assert any("10 of 12" in remark for remark in printed["remarks"])
    page = parse((tmp_path / "scores" / "report.html").read_text(encoding="utf-8"))
    assert f"{printed['dice']['mean']:.4f}" in page.text
    assert "Left out: 10 of 12 pictures" in page.text
    assert "How it learnt" in page.headings  # the model lies in its run folder


def test_evaluating_everything_is_called_a_leak(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), str(drawn), "--out", str(tmp_path / "scores"), "--everything"]) == 0
    said = capsys.readouterr()
    assert "LEAK: 10 of these 12 pictures: training learnt from them" in said.err
    assert said.out.splitlines()[-1] == f"Report: {tmp_path / 'scores' / 'report.html'}"
    assert "--everything" in parse((tmp_path / "scores" / "report.html").read_text(encoding="utf-8")).text
    assert len(list((tmp_path / "scores" / "worst").iterdir())) == 5


def test_evaluate_leaves_nothing_behind_where_training_saw_everything(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card, weights = load_model(model)
    seen = dataclasses.replace(card, trained_on=(*card.trained_on, *card.chosen_on))
    save_model(tmp_path / "model.safetensors", seen, weights)
    out = tmp_path / "scores"
    assert main(["evaluate", str(tmp_path / "model.safetensors"), str(drawn), "--out", str(out)]) == 2
    assert f"Training learnt from every picture in {drawn}" in capsys.readouterr().err
    assert not out.exists()


def test_evaluate_knows_the_groups_of_training_where_too_few_are_there_to_find_any(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    cars = sorted({path.stem.split("_")[0] for path in (photos / "train").iterdir()})
    for path in [*(photos / "train").iterdir(), *(photos / "train_masks").iterdir()]:
        if path.stem.split("_")[0] in cars[2:]:
            path.unlink()
    assert main(["evaluate", str(model), str(photos), "--out", str(tmp_path / "scores"), "--everything"]) == 0
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert scores["grouping"].startswith("2 groups by the pattern")
    assert {picture["group"] for picture in scores["pictures"]} == set(cars[:2])


def test_views_of_one_car_have_no_interval(model: Path, photos: Path, tmp_path: Path) -> None:
    first = an_image(photos).stem.split("_")[0]
    for path in [*(photos / "train").iterdir(), *(photos / "train_masks").iterdir()]:
        if path.stem.split("_")[0] != first:
            path.unlink()
    assert main(["evaluate", str(model), str(photos), "--out", str(tmp_path / "scores"), "--everything"]) == 0
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert (len(scores["pictures"]), scores["groups"]) == (2, 1)
    assert scores["grouping"].startswith("1 groups by the pattern")
    assert scores["dice"]["low"] is None


def test_where_nothing_can_be_scored_there_are_dashes(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (photos / "train").iterdir():
        path.write_text("not a picture")
    assert main(["evaluate", str(model), str(photos), "--out", str(tmp_path / "scores")]) == 1
    said = capsys.readouterr().out
    assert re.search(r"Dice +– +none\b", said.replace("│", " ")), said
    assert not re.search(r"\bnan\b|single group", said)


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("train", "; a smaller --batch-size or --size needs less"),
        ("plan", "; a smaller --batch-size or --size needs less"),
        ("evaluate", ""),
        ("predict", ""),
    ],
)
def test_where_memory_runs_out_only_what_has_batches_is_told_to_make_them_smaller(
    word: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_out(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(cli, "_run_word", run_out)
    assert main([word, "photos"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"There is not enough memory{advice}.")


def test_evaluate_compares_two_evaluations(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        assert main(["evaluate", str(model), str(drawn), "--everything", "--out", str(tmp_path / name)]) == 0
    scores = json.loads((tmp_path / "b" / "scores.json").read_text())
    for place, picture in enumerate(scores["pictures"]):
        picture["dice"] += 0.01 * (place + 1)
    (tmp_path / "b" / "scores.json").write_text(json.dumps(scores))
    both = ["evaluate", "--compare", str(tmp_path / "a"), str(tmp_path / "b" / "scores.json")]
    capsys.readouterr()
    assert main([*both, "--out", str(tmp_path / "c"), "--json"]) == 0
    said = capsys.readouterr()
    printed = json.loads(said.out)
    assert printed == json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert printed["dice"]["mean"] == pytest.approx(0.065)
    assert printed["dice"]["low"] > 0
    assert printed["pictures"][0]["name"] == scores["pictures"][11]["name"]
    page = parse((tmp_path / "c" / "report.html").read_text(encoding="utf-8"))
    assert "B is better: Dice +0.0650 on 12 pictures of 6 groups" in page.text
    assert page.tags.count("img") == 6 * 4
    assert "A: LEAK" in said.err
    assert main([*both, "--out", str(tmp_path / "d")]) == 0
    assert "B is better" in capsys.readouterr().out
    assert main([*both, "--out", str(tmp_path / "d")]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_comparison_whose_pictures_are_gone_says_so(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), str(photos), "--everything", "--out", str(tmp_path / "a")]) == 0
    shutil.rmtree(photos)
    both = ["evaluate", "--compare", str(tmp_path / "a"), str(tmp_path / "a")]
    assert main([*both, "--out", str(tmp_path / "c")]) == 0
    said = capsys.readouterr()
    assert f"No pictures are shown: the folder of the pictures, {photos}, is not there." in said.err
    assert said.out.splitlines()[-1] == f"Report: {tmp_path / 'c' / 'report.html'}"
    page = parse((tmp_path / "c" / "report.html").read_text(encoding="utf-8"))
    assert "No pictures are shown" in page.text
    assert "do not tell A and B apart" in page.text


def test_a_comparison_reads_masks_as_its_evaluations_did(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (photos / "train_masks").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path).convert("L"))).save(path)
    dark = ["evaluate", str(model), str(photos), "--everything", "--foreground", "dark", "--out", str(tmp_path / "a")]
    assert main(dark) == 0
    both = ["evaluate", "--compare", str(tmp_path / "a"), str(tmp_path / "a"), "--out", str(tmp_path / "c"), "--json"]
    capsys.readouterr()
    assert main(both) == 0
    worst = json.loads(capsys.readouterr().out)["pictures"][0]
    assert worst["first"] > 0
    page = parse((tmp_path / "c" / "report.html").read_text(encoding="utf-8"))
    assert f"Dice of A {worst['first']:.4f} · of B {worst['second']:.4f}" in page.text


def test_two_runs_are_compared_with_their_pictures(model: Path, tmp_path: Path) -> None:
    run = str(model.parent)
    assert main(["evaluate", "--compare", run, run, "--out", str(tmp_path / "c")]) == 0
    assert parse((tmp_path / "c" / "report.html").read_text(encoding="utf-8")).tags.count("img") == 2 * 4


def test_an_exported_model_is_evaluated_without_torch_and_matplotlib(
    tiny_onnx: Path, drawn: Path, tmp_path: Path
) -> None:
    code = (  # the function, since tyro looks for "torch" among the modules
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'matplotlib')));"
        "from maskwright.commands.evaluate import evaluate;"
        "evaluate(sys.argv[1], sys.argv[2], everything=True, out=sys.argv[3])"
    )
    words = [str(tiny_onnx), str(drawn), str(tmp_path / "scores")]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    page = parse((tmp_path / "scores" / "report.html").read_text(encoding="utf-8"))
    assert "Plots are left out: matplotlib is not installed" in page.text
    assert "Pictures" in page.headings
    assert "svg" not in page.tags


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--compare", "{model}", "{model}"], "{model} holds no scores"),
        (["--compare", "{drawn}", "{drawn}"], "{drawn}/scores.json cannot be read"),
        (["{model}", "{drawn}", "--compare", "a", "b"], "no model beside them"),
        (["{model}"], "evaluate needs a model file and a folder"),
        (["{model}", "{drawn}", "--tolerance", "0"], "--tolerance must be above 0"),
    ],
)
def test_evaluate_says_what_cannot_be_used(
    words: list[str], sentence: str, model: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *(word.format(model=model, drawn=drawn) for word in words)]) == 2
    assert sentence.format(model=model, drawn=drawn) in capsys.readouterr().err


def test_a_renamed_training_picture_is_recognised(model: Path, photos: Path, tmp_path: Path) -> None:
    for path in [*(photos / "train").iterdir(), *(photos / "train_masks").iterdir()]:
        path.rename(path.with_name(f"new_{path.name}"))
    assert main(["evaluate", str(model), str(photos), "--out", str(tmp_path / "scores")]) == 0
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert len(scores["pictures"]) == 2


def test_predict_writes_masks_overlays_and_panels_at_the_original_size(
    model: Path, drawn: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions"
    picture = an_image(drawn)
    assert main(["predict", str(model), str(picture), "--out", str(out), "--save", "mask,overlay,panel"]) == 0
    with Image.open(out / f"{picture.stem}_mask.png") as mask, Image.open(picture) as image:
        assert mask.size == image.size
        assert set(mask.get_flattened_data()) <= {0, 255}
    with Image.open(out / f"{picture.stem}_panel.png") as panel:
        assert panel.width > 3 * 96  # original, ground truth and prediction
    assert (out / f"{picture.stem}_overlay.png").is_file()


def test_predict_mirrors_folders_and_leaves_masks_out(model: Path, drawn: Path, tmp_path: Path) -> None:
    assert main(["predict", str(model), str(drawn), "--out", str(tmp_path / "out")]) == 0
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert written == sorted(f"train/{path.stem}_mask.png" for path in (drawn / "train").iterdir())


def test_predict_takes_patterns(model: Path, drawn: Path, tmp_path: Path) -> None:
    assert main(["predict", str(model), f"{drawn}/train/*_01.jpg", "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 6


def test_predict_overwrites_only_when_told(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(model), str(an_image(drawn)), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    (mask,) = (tmp_path / "out").glob("*_mask.png")
    mask.write_bytes(b"corrected by hand")
    assert main(command) == 0
    assert "--overwrite" in capsys.readouterr().out
    assert mask.read_bytes() == b"corrected by hand"
    assert main([*command, "--overwrite"]) == 0
    assert mask.read_bytes() != b"corrected by hand"


def test_predict_refuses_two_results_of_one_name(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / f"{an_image(drawn).stem}.png"
    with Image.open(an_image(drawn)) as image:
        image.save(other)
    assert main(["predict", str(model), str(an_image(drawn)), str(other), "--out", str(tmp_path / "out")]) == 2
    assert str(other) in capsys.readouterr().err


def test_a_bad_picture_is_listed_and_the_others_are_predicted(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    culprit = truncated_jpeg(photos)
    assert main(["predict", str(model), str(photos / "train"), "--out", str(tmp_path / "out")]) == 1
    assert culprit in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 11


def test_without_torch_a_hint_says_what_to_install(model: Path, drawn: Path) -> None:
    commands = [
        ["train", str(drawn)],
        ["evaluate", str(model), str(drawn)],
        ["predict", str(model), str(an_image(drawn))],
    ]
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'torch' else find(name, package)\n"
        "from maskwright.cli import main\n"
        f"print([main(words) for words in {commands!r}], 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=drawn)
    assert result.stdout == "[2, 2, 2] False\n"
    assert result.stderr.count("pip install '.[train]'") == len(result.stderr.splitlines()) == 3


def test_a_place_that_cannot_be_written_to_is_named(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["evaluate", str(model), str(drawn), "--out", str(tmp_path / "file" / "below")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_names_that_look_like_markup_are_printed_as_they_are(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    an_image(photos).rename(an_image(photos).with_name("car[red]_:smile:.jpg"))
    assert main(["evaluate", str(model), str(photos), "--out", str(tmp_path / "scores")]) == 1
    assert "car[red]_:smile:.jpg" in capsys.readouterr().err


def test_evaluating_no_pair_at_all_says_so(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mask in (photos / "train_masks").iterdir():
        mask.rename(mask.with_name(f"other{mask.name}"))
    assert main(["evaluate", str(model), str(photos), "--out", str(tmp_path / "scores")]) == 2
    assert "no image with a mask" in capsys.readouterr().err


def test_a_run_that_is_terminated_while_it_reads_leaves_nothing(
    drawn: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))  # no other test has read them
    code = (
        "import os, signal, sys\n"
        "from maskwright.training import material\n"
        "read = material.read_pair\n"
        "signals = [signal.SIGTERM]\n"
        "def read_and_signal(pair, formats):\n"
        "    while signals:\n"
        "        os.kill(os.getpid(), signals.pop())\n"
        "    return read(pair, formats)\n"
        "material.read_pair = read_and_signal\n"
        f"from maskwright.cli import main; sys.exit(main(['train', {str(drawn)!r}, '--out', 'run', *{TRAIN!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 75
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_minutes_count_from_the_beginning_of_the_process() -> None:
    code = "import time; from maskwright import cli; began = cli._process_began(); print(time.monotonic() - began)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    age = float(result.stdout)
    assert 0 <= age < cli.OLDEST_SECONDS
    if Path("/proc/self/stat").exists():
        assert age > 0.02  # nobody imports this faster


def test_when_the_process_began_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "began" not in capsys.readouterr().out


def test_processes_that_a_command_started_count_its_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    own = cli._process_began()
    monkeypatch.setenv("_MASKWRIGHT_BEGAN", "12.5")
    assert cli._process_began() == pytest.approx(own, abs=1)  # of an earlier command in this shell, say
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert cli._process_began() == 12.5
