"""Words to one function of `commands`.

Each function below is one word: its parameters are the options, its docstring is the help. The work is imported when
the word is used, so that `--help` answers at once and needs no torch.
"""

import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, Suppress

from maskwright import terminal
from maskwright.config import (
    MASKS_AS_TRAINED,
    MaskSettings,
    PredictSettings,
    ScaleSettings,
    ServeLimits,
    Settings,
    choose_preset,
    nearest_preset,
    parse_memory,
    read_preset,
    read_settings,
)
from maskwright.device import gpu_gigabytes, local_rank
from maskwright.errors import InputError, OthersEndedError, is_out_of_memory
from maskwright.signals import catching_signals
from maskwright.training.ranks import COMMAND_BEGAN, last_word, was_restarted

DONE, WITH_FAILURES, NOT_STARTED, INTERRUPTED, STOPPED_AND_SAVED = 0, 1, 2, 130, 75
# A process that seems to have taken longer to get here has another clock than we think.
OLDEST_SECONDS = 60.0


def demo(*, out: Path | None = None, minutes: float = 2.5, cars: int = 16, seed: int = 0) -> int:
    """The whole way on drawn cars: draw, train, evaluate on unseen cars, predict.

    Args:
        out: Folder for everything; by default a new one under runs/.
        minutes: How long to train.
        cars: Cars to learn from; a quarter as many again are drawn to evaluate on.
        seed: Another seed draws other cars.
    """
    from maskwright.commands.demo import demo as command

    return STOPPED_AND_SAVED if command(out=out, minutes=minutes, cars=cars, seed=seed) is None else DONE


def check(
    photos: Positional[Path],
    masks: OmitArgPrefixes[MaskSettings],
    *,
    group: str | None = None,
    size: int | None = None,
    out: Path | None = None,
    fix: Path | None = None,
    json: bool = False,
) -> int:
    """Say what is in a folder of photographs and masks, and what is wrong with it.

    Args:
        photos: The folder, or its manifest or annotation file.
        masks: What their values mean, where that is not to be found out.
        group: Regular expression that finds a picture's group in its name.
        size: Longer side of training that the masks' resolution is judged at; by default 384 pixels.
        out: Folder for check.html and check.json; by default a new one under runs/.
        fix: New folder for a clean copy; the original stays as it is.
        json: Print check.json instead of a report.
    """
    from maskwright.commands.check import check as command

    diagnosis = command(photos, masks=masks, group=group, size=size, out=out, fix=fix, as_json=json)
    return {"clean": DONE, "findings": WITH_FAILURES, "unusable": NOT_STARTED}[diagnosis.verdict]


def plan(
    photos: Positional[Path],
    settings: OmitArgPrefixes[Settings],
    *,
    preset: str | None = None,
    start_from: Annotated[Path | None, tyro.conf.arg(name="from", metavar="MODEL")] = None,
    json: bool = False,
) -> int:
    """Say what train would do with a folder on this machine, and why.

    Args:
        photos: The folder, as for train.
        settings: Everything else, as for train.
        preset: Settings to start from: quick, best or classic; by default best from 3 hours (of each of the --folds) or
            10 GB of GPU on, quick for less and for a number of --epochs alone.
        start_from: Model file whose weights train would start from; its network and size are the defaults then.
        json: Print JSON instead of a table.
    """
    from maskwright.commands.plan import plan as command

    del preset, start_from  # their settings are the defaults of `settings`; see `main`
    command(photos, settings=settings, as_json=json)
    return DONE


def train(  # noqa: PLR0913 - each is an option
    photos: Positional[Path],
    settings: OmitArgPrefixes[Settings],
    *,
    preset: str | None = None,
    start_from: Annotated[Path | None, tyro.conf.arg(name="from", metavar="MODEL")] = None,
    out: Path | None = None,
    resume: bool = False,
    gpus: int | None = None,
    processes: int | None = None,
    max_restarts: int = 0,
    began: Suppress[float | None] = None,
    words: Suppress[tuple[str, ...]] = (),
) -> int:
    """Learn from a folder of photographs and masks.

    Args:
        photos: The folder: images/ with masks/, train/ with train_masks/, or a.jpg beside a_mask.png.
        settings: Everything else; the defaults shown are those of the preset.
        preset: Settings to start from: quick, best or classic; by default best from 3 hours (of each of the --folds) or
            10 GB of GPU on, quick for less and for a number of --epochs alone.
        start_from: Model file whose weights to start from; its network and size are the defaults then.
        out: Run folder; by default a new one under runs/.
        resume: Go on with the run in --out, or with the latest of this folder.
        gpus: Train on so many GPUs of this machine together; more machines: docs/scale.md.
        processes: Train in so many processes on the CPU together.
        max_restarts: So often, all of them start again from where the run was saved after one of them has died.
        began: When the process did; no option.
        words: All of them; no option.
    """
    del preset  # its settings are the defaults of `settings`; see `main`
    has_folds, is_alone = settings.folds is not None and settings.fold is None, gpus is None and processes is None
    if has_folds and not (is_alone and local_rank() is None):
        raise InputError("Several processes train one model at a time: name a --fold.")
    count = 1
    if not is_alone and local_rank() is None:
        from maskwright.commands.train_together import count_processes

        count = count_processes(gpus, processes, settings.device)
    if max_restarts and count == 1 and local_rank() is None:
        raise InputError("--max-restarts is for several processes: say --gpus or --processes as well.")
    if count > 1:
        from maskwright.commands.train_together import train_together

        ending = train_together(
            words,
            photos,
            count,
            max_restarts=max_restarts,
            out=out,
            resume=resume,
            began=began,
        )
        return {
            "finished": DONE,
            "finished with failures": WITH_FAILURES,
            "stopped": STOPPED_AND_SAVED,
            "failed": NOT_STARTED,
        }[ending]
    if not is_alone:
        settings = dataclasses.replace(settings, device="cpu" if gpus is None else "cuda")
    if has_folds:
        from maskwright.commands.cross_validate import cross_validate

        found = cross_validate(photos, out=out, resume=resume, start_from=start_from, settings=settings, began=began)
        return DONE if found.finished else STOPPED_AND_SAVED
    from maskwright.commands.train import train as command

    began = None if was_restarted() else began
    run = command(photos, out=out, resume=resume, start_from=start_from, settings=settings, began=began)
    if not run.finished:
        return STOPPED_AND_SAVED
    # Of several processes none may say 1, since torchrun would start them all again.
    has_failures = local_rank() is None and run.scores is not None and run.scores.problems
    return WITH_FAILURES if has_failures else DONE


def evaluate(  # noqa: PLR0913 - each is an option
    model: Positional[Path | None] = None,
    photos: Positional[Path | None] = None,
    masks: OmitArgPrefixes[MaskSettings] = MASKS_AS_TRAINED,
    *,
    compare: tuple[Path, Path] | None = None,
    out: Path | None = None,
    group: str | None = None,
    everything: bool = False,
    tolerance: float | None = None,
    json: bool = False,
    device: str = "auto",
) -> int:
    """Score a model on photographs and masks, at their own size.

    Args:
        model: The model file.
        photos: Folder of photographs and masks.
        masks: What their values mean, where they are stored in another way than those of training.
        compare: Instead of a model and photographs: the folders that two evaluations left. Says by how much the second
            is better, with an interval, and on which pictures they differ most.
        out: Folder for report.html, scores.json and panels of the worst pictures; by default a new one under runs/.
        group: Regular expression that finds a picture's group in its name.
        everything: Score pictures that training saw as well.
        tolerance: How far an outline may be off, pixels; by default 0.75 % of each picture's diagonal.
        json: Print scores.json instead of a table.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    if compare is not None:
        from maskwright.commands.compare import compare as compare_command

        if model is not None:
            raise InputError("--compare takes the folders of two evaluations, and no model beside them; leave it out.")
        compare_command(*compare, out=out, as_json=json, device=device)
        return DONE
    if model is None or photos is None:
        raise InputError("evaluate needs a model file and a folder of pictures with masks, or --compare A B.")
    from maskwright.commands.evaluate import evaluate as command

    scores = command(
        model,
        photos,
        out=out,
        group=group,
        masks=masks,
        everything=everything,
        tolerance=tolerance,
        as_json=json,
        device=device,
    )
    return WITH_FAILURES if scores.problems else DONE


def predict(
    model: Positional[Path],
    inputs: Positional[tuple[str, ...]],
    settings: OmitArgPrefixes[PredictSettings],
    scale: OmitArgPrefixes[ScaleSettings],
    *,
    out: str = "predictions",
    save: str = "mask",
    masks: Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
) -> int:
    """Write what a model sees in pictures and videos: masks, cutouts, overlays, lists.

    Args:
        model: The model file, or an .onnx or .xml that export made of it.
        inputs: Pictures, videos, folders and patterns such as 'photos/*.jpg'; - reads a picture from standard input and
            writes its result to standard output.
        settings: How results are made.
        scale: Who makes them.
        out: Where the results go; folders of the inputs are mirrored there. What is there already is left as it is.
        save: What to write, a comma list of mask, soft, cutout, background, overlay, contour, panel, polygons, coco,
            kaggle and sheet; with --runner ray of mask, parquet and shards.
        masks: Folder of true masks for the panel; by default they are looked for beside the pictures.
        overwrite: Make results anew that are there already.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    if scale.runner == "ray":
        from maskwright.commands.predict_at_scale import predict_at_scale

        if len(inputs) > 1 or masks is not None:
            raise InputError("--runner ray takes one folder, file or pattern, and no --masks.")
        tally = predict_at_scale(
            model,
            inputs[0],
            out=out,
            save=save,
            overwrite=overwrite,
            device=device,
            settings=settings,
            scale=scale,
        )
        return WITH_FAILURES if tally.failed or tally.undone else DONE
    from maskwright.commands.predict import predict as command

    prediction = command(
        model, inputs, out=out, save=save, masks=masks, overwrite=overwrite, device=device, settings=settings
    )
    return WITH_FAILURES if prediction.problems else DONE


def export(
    model: Positional[Path],
    *,
    out: Path,
    to: Literal["onnx", "openvino", "torch", "hub", "pth"] = "onnx",
    pictures: Path | None = None,
    int8: bool = False,
    int8_limit: float = 0.001,
    scores: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Write a model in another form, for use elsewhere.

    Args:
        model: The model file.
        out: The new file or folder: .onnx, .xml (openvino), .pt2 (torch), .pth, or a folder (hub).
        to: onnx, openvino and torch (torch.export) are whole programs, written if they compute the same; hub is a
            folder with a model card that can be uploaded as it stands; pth is a plain state dict of PyTorch.
        pictures: Folder of pictures to compare on; by default those that the run held out, else drawn cars.
        int8: With onnx, compute in 8 bits, calibrated on --pictures.
        int8_limit: By how much the Dice may fall for it.
        scores: For hub, the scores.json to quote; by default the one beside the model.
        overwrite: Replace a file that is there already.
    """
    from maskwright.commands.export import export as command

    command(
        model,
        out=out,
        to=to,
        pictures=pictures,
        int8=int8,
        int8_limit=int8_limit,
        scores=scores,
        overwrite=overwrite,
    )
    return DONE


def import_weights(
    weights: Positional[Path],
    *,
    size: int | None = None,
    factor: float | None = None,
    out: Path = Path("model.safetensors"),
    classes: str | None = None,
    threshold: float = 0.5,
    normalisation: str | None = None,
) -> int:
    """Make a model file of what another project saved.

    Args:
        weights: A .pth of milesial/Pytorch-UNet or of trainuNet.py, or a folder that segmentation_models.pytorch saved.
        size: Longer side that the pictures had in training, pixels.
        factor: Where each was shrunk to a share of its own size instead, that share.
        out: The model file.
        classes: Names of the classes in the order of the logits, with commas between them, or a file of them.
        threshold: Probability from which a pixel is foreground, where there is one logit.
        normalisation: Of a network of segmentation_models.pytorch, how its pictures in 0..1 were normalised: none,
            imagenet, or means/deviations such as 0.5,0.5,0.5/0.25,0.25,0.25.
    """
    from maskwright.commands.import_weights import import_weights as command

    command(
        weights,
        size=size,
        factor=factor,
        out=out,
        classes=classes,
        threshold=threshold,
        normalisation=normalisation,
    )
    return DONE


def serve(
    model: Positional[Path],
    limits: OmitArgPrefixes[ServeLimits],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: Path | None = None,
    collect: Path | None = None,
    device: str = "auto",
) -> int:
    """Answer over HTTP what a model sees in pictures, with a web page.

    Args:
        model: The model file, or an .onnx or .xml that export made of it.
        limits: What is taken at most.
        host: Address to listen on; any other than this machine's own asks for an API key.
        port: Port to listen on; 0 takes one that is free.
        api_key_file: File that holds the API key that clients have to send; else MASKWRIGHT_API_KEY, if it is set.
        collect: Folder to keep pictures with corrected masks in, which train --from MODEL takes as it is.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from maskwright.commands.serve import serve as command

    command(model, host=host, port=port, api_key_file=api_key_file, collect=collect, device=device, limits=limits)
    return DONE


WORDS: dict[str, Callable[..., int]] = {
    "demo": demo,
    "check": check,
    "plan": plan,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "import": import_weights,
    "serve": serve,
}


def _defaults_of(word: str, arguments: Sequence[str]) -> Settings:
    """The settings of the preset or the model asked for: they have to be known before the other options."""
    preset = _value_of("--preset", arguments) or _unnamed_preset(word, arguments)
    model = _value_of("--from", arguments)
    if arguments[:1] != [word] or model is None:
        return read_preset(preset)
    from maskwright.training.starting_point import default_settings, read_starting_point

    return default_settings(preset, read_starting_point(Path(model)), None, epochs=None)


def _unnamed_preset(word: str, arguments: Sequence[str]) -> str:
    """The preset for the time that a model gets, and for the machine where the run may depend on it.

    A run that is resumed keeps its own, whatever machine it goes on with.
    """
    out = _value_of("--out", arguments) if "--resume" in arguments else None
    if out and (begun := _preset_of_run(Path(out))):
        return begun
    minutes = _number_of("--minutes", arguments)
    folds = _number_of("--folds", arguments) if _value_of("--fold", arguments) is None else None
    may_use_gpu = (
        arguments[:1] == [word]
        and _value_of("--device", arguments) != "cpu"
        and _value_of("--processes", arguments) is None
        and (_value_of("--gpus", arguments) in (None, "1") or local_rank() is not None)  # each of several will ask
        and (minutes is not None or _value_of("--epochs", arguments) is None)
    )
    return choose_preset(minutes and minutes / (folds or 1), _gpu_memory(arguments) if may_use_gpu else 0.0)


def _gpu_memory(arguments: Sequence[str]) -> float:
    """GiB of the GPU for a run: what there is, up to what --memory allows; of one elsewhere, what --memory says."""
    here, allowed = gpu_gigabytes(), parse_memory(_value_of("--memory", arguments) or "") / 2**30
    if here and allowed:
        return min(here, allowed)
    is_elsewhere = (_value_of("--device", arguments) or "").startswith("cuda")
    return here or (allowed if is_elsewhere else 0.0)


def _preset_of_run(out: Path) -> str | None:
    """The preset that a run, or the first of its folds, was begun with; None where nobody can tell."""
    from maskwright.training.run_folder import RunFolder, fold_folder

    for folder in (RunFolder(out), fold_folder(out, 0)):
        with suppress(InputError):
            if folder.config.is_file():
                return nearest_preset(read_settings(folder.config))
    return None


def _number_of(option: str, arguments: Sequence[str]) -> float | None:
    """The number that follows an option; None where it is no number, of which the parser will say so."""
    with suppress(TypeError, ValueError):
        return float(_value_of(option, arguments) or "")
    return None


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """What follows an option; of one that is given twice the last counts, as it does for the parser."""
    value = None
    for word, following in zip(arguments, [*arguments[1:], None], strict=True):
        if word == option:
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 1 done with failures that were listed, 2 could not start or go on, 75 stopped by a signal with its state
        saved, 130 interrupted where there was no state to save.
    """
    began = _process_began() if arguments is None else None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        from importlib.metadata import version

        terminal.say(f"maskwright {version('maskwright')}")
        return DONE
    if arguments[:1] == ["--completion"]:  # of a shell: bash, zsh or tcsh
        arguments[0] = "--tyro-print-completion"
    return _exit_code(lambda: _run_word(arguments, began), has_batches=arguments[:1] in (["train"], ["plan"]))


def run_script(command: Callable[..., bool]) -> int:
    """Run one command as a script of its own, its options from the command line; it says whether it came to its end."""
    return _exit_code(lambda: DONE if tyro.cli(command, config=(FlagCreatePairsOff,)) else STOPPED_AND_SAVED)


def _run_word(arguments: Sequence[str], began: float | None) -> int:
    words: dict[str, Callable[..., int]] = {
        **WORDS,
        "plan": functools.partial(plan, settings=_defaults_of("plan", arguments)),
        "train": functools.partial(
            train, settings=_defaults_of("train", arguments), began=began, words=tuple(arguments)
        ),
    }
    code: int = tyro.extras.subcommand_cli_from_dict(
        words,
        prog="maskwright",
        description="From a folder of photographs and masks to a segmentation model.",
        args=arguments,
        config=(FlagCreatePairsOff,),
        console_outputs=local_rank() in (None, 0),  # of several processes, one says what is wrong with the words
    )
    return code


def _process_began() -> float:
    """What `time.monotonic` said when this process began, where the system tells; the minutes count from there.

    Of processes that a command of ours started, it is when that began.
    """
    if local_rank() is not None and COMMAND_BEGAN in os.environ:
        return float(os.environ[COMMAND_BEGAN])
    age = 0.0
    with suppress(OSError, ValueError, IndexError, AttributeError):  # other systems than Linux
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (age if 0 <= age < OLDEST_SECONDS else 0.0)


def _exit_code(call: Callable[[], int], *, has_batches: bool = False) -> int:
    """What the call returns; what the user can mend becomes a sentence instead of a traceback."""
    try:
        # Any of them unwinds, so that what was begun is cleared away.
        with catching_signals():
            return call()
    except InputError as error:
        last_word(str(error))
        return NOT_STARTED
    except OSError as error:  # a full disk, a folder that may not be written to
        last_word(f"{error.filename or 'A file'} cannot be read or written: {error.strerror or error}.")
        return NOT_STARTED
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        advice = "; a smaller --batch-size or --size needs less" if has_batches else ""
        last_word(f"There is not enough memory{advice}.")
        return NOT_STARTED
    except OthersEndedError:
        return NOT_STARTED
    except KeyboardInterrupt:
        last_word("Interrupted.")
        return INTERRUPTED
