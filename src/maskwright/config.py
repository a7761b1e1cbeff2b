"""Every setting there is, as frozen dataclasses that go to TOML and back.

Imports neither torch nor numpy: the command line builds its words from here and must answer at once.
"""

import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w

from maskwright.errors import InputError
from maskwright.files import write_text

Norm = Literal["batch", "group", "none"]
Upsampling = Literal["transposed", "bilinear", "bilinear_aligned"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Optimizer = Literal["adamw", "adam", "muon", "sgd", "rmsprop"]
Schedule = Literal["cosine", "poly", "step", "constant"]
Foreground = Literal["light", "dark"]
ClassWeights = Literal["auto", "none"]
EngineName = Literal["torch", "onnx", "openvino"]
Storage = Literal["plain", "lean", "checkpointed", "lean+checkpointed"]

# Eight halvings leave one pixel of a picture 256 wide, and double the channels as often.
DEEPEST = 7
# Fewer pixels a side are no picture to learn from.
SMALLEST_SIDE = 32
# Where nothing is said of the length of a run.
DEFAULT_MINUTES = 10.0
# From so many minutes, or so much memory of a GPU, the preset is `best` where none is named (docs/decisions/0039).
MANY_MINUTES, LARGE_GPU_GIGABYTES = 180.0, 10.0
# Encoders of our own; `torchvision:` and `timm:` come before the names of theirs.
ENCODERS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
ENCODER_SOURCES = ("torchvision", "timm")
# Before the names of whole networks of segmentation_models.pytorch, which can be imported but not trained here.
SMP = "smp"
# The table in a run's settings that names the model it started from.
STARTED_FROM = "started_from"
LOSSES = ("ce", "bce", "focal", "dice", "iou", "tversky", "lovasz")

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(I?)B", re.IGNORECASE)

# Settings that are one of several words; a TOML file can hold any.
_CHOICES = {
    "norm": Norm,
    "upsampling": Upsampling,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "precision": Precision,
    "class_weights": ClassWeights,
    "foreground": Literal["light", "dark", None],
    "storage": Literal[Storage, None],
}


@dataclass(frozen=True)
class Architecture:
    """What is needed to build a network before its weights are loaded. Stands in every model file."""

    encoder: str = "none"
    """`none` is the classic U-Net; any other word of `ENCODERS`, or timm:resnet18, is an encoder under one.
    smp:Unet:resnet34 is a whole network of segmentation_models.pytorch, on an encoder under the name it has there."""

    in_channels: int = 3
    """Channels of the input, scaled to 0..1."""

    num_classes: int = 1
    """Channels of the logits. 1: foreground against background."""

    base_channels: int = 64
    """Channels at full resolution; each level below has twice as many."""

    depth: int = 4
    """Halvings of the classic U-Net. A pretrained encoder has five of its own."""

    norm: Norm = "batch"
    """Normalisation after each convolution of the classic blocks."""

    upsampling: Upsampling = "transposed"
    """How the decoder doubles the resolution: by a transposed convolution, or bilinearly, after a 1x1 convolution or
    with none, between aligned corners."""

    unshuffle: int = 1
    """Pixels a side, 1, 2 or 4, that share one place at the finest level; the head gives each its own logits."""

    widest: int | None = None
    """Most channels of a level of the decoder on an encoder; None for no such bound."""

    options: dict[str, Any] = field(default_factory=dict)
    """What else a network of segmentation_models.pytorch is built with, in its own words; of the fields before this
    one, only the first three say something of it."""

    def __post_init__(self) -> None:
        """Refuse what no network could be built from."""
        _require_choices(self)
        _require_encoder(self.encoder)
        _require(not self.options or self.encoder.startswith(f"{SMP}:"), f"options belong to an encoder of {SMP}:")
        _require(self.unshuffle in (1, 2, 4), "--unshuffle is one of 1, 2, 4")
        for name in ("in_channels", "num_classes", "base_channels", "depth"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1")
        _require(self.widest is None or self.widest >= 8, "--widest must be at least 8 channels")
        _require(self.depth <= DEEPEST, f"depth must be at most {DEEPEST}")
        if self.norm == "group":
            _require(self.base_channels % 8 == 0, "group normalisation needs base_channels divisible by 8")

    def in_words(self) -> str:
        """What kind of network it is."""
        return "classic U-Net" if self.encoder == "none" else f"U-Net on {self.encoder}"


@dataclass(frozen=True)
class MaskSettings:
    """What the user says of the masks, where it is not to be found out."""

    classes: str | None = None
    """What the masks' values mean: a file such as classes.txt, background=0,car=1 or crop=#00ff00,weed=#ff0000."""

    ignore: str | None = None
    """Values, colours or class names of pixels that do not count, with commas between them."""

    foreground: Foreground | None = None
    """Which side of black and white masks is the foreground; light where nothing is said."""

    def __post_init__(self) -> None:
        """Refuse words that mean nothing."""
        _require_choices(self)


@dataclass(frozen=True)
class PredictSettings:
    """What `predict` can be told of the results."""

    background: str | None = None
    """What comes behind for --save background: a colour such as '#00ff88' or white, or a picture."""

    threshold: float | None = None
    """Probability from which a pixel is foreground, of two classes; by default that of the model file."""

    engine: EngineName | None = None
    """What is to compute: torch, onnx or openvino. The model's file decides; this refuses files for another one."""

    flips: bool = False
    """Look at each picture mirrored as well: a little better, in twice the time."""

    fill_holes: bool = False
    """Background that a region encloses becomes part of it."""

    largest: bool = False
    """Of each class, only the largest region stays."""

    min_area: int = 0
    """Regions of fewer pixels go."""

    large: bool = False
    """Take TIFF files and arrays of more than 64 million pixels as well, row by row; their masks are TIFF files."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise InputError(f"--threshold must lie between 0 and 1, not at {self.threshold}.")
        if self.min_area < 0:
            raise InputError(f"--min-area counts pixels and cannot be {self.min_area}.")


@dataclass(frozen=True)
class ScaleSettings:
    """Who runs `predict`, and on what; docs/scale.md says when to take which."""

    runner: Literal["local", "ray"] = "local"
    """Who runs it: this process, or Ray on the cores of this machine or of many."""

    address: str | None = None
    """With --runner ray, the cluster, such as ray://head:10001 or auto; by default this machine alone."""

    part: int = 100
    """With --runner ray, pictures that are done, and marked as done, together."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.part < 1:
            raise InputError(f"--part counts pictures and cannot be {self.part}.")
        if self.address is not None and self.runner != "ray":
            raise InputError("--address is that of a Ray cluster; it goes with --runner ray.")


@dataclass(frozen=True)
class ServeLimits:
    """What `serve` takes at most; docs/serve.md says how each is answered."""

    max_megabytes: float = 20.0
    """Size of a request, in millions of bytes."""

    max_megapixels: float = 25.0
    """Size of a picture, in millions of pixels, known from its header before it is decoded."""

    max_requests: int = 32
    """Pictures that are received, wait or are computed at a time; another is turned away at once."""

    max_connections: int = 512
    """Open connections, idle ones included."""

    body_seconds: float = 30.0
    """How long a client may take to send its request."""

    decode_seconds: float = 10.0
    """How long a picture may take to be decoded; its decoder is ended then."""

    request_seconds: float = 60.0
    """How long a picture may wait and be computed after it was received."""

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        for name, value in dataclasses.asdict(self).items():
            _require(value > 0, f"--{_word(name)} must be more than 0, not {value}")

    @property
    def body_bytes(self) -> int:
        """Of a request."""
        return round(self.max_megabytes * 1e6)

    @property
    def picture_pixels(self) -> int:
        """Of a picture."""
        return round(self.max_megapixels * 1e6)


@dataclass(frozen=True)
class Settings(MaskSettings):
    """What `train` can be told. The defaults are those of a run without a preset's file."""

    # The network
    encoder: str = "none"
    """`none` is the classic U-Net; efficientnet_lite0, efficientnet_lite1 and efficientnet_lite2 are encoders with
    ImageNet weights; torchvision:NAME and timm:NAME are theirs, without weights unless --encoder-weights has them."""

    encoder_weights: str | None = None
    """A .pth or .safetensors file with weights for the encoder, under the names that torchvision or timm gives them."""

    base_channels: int | None = None
    """Channels at full resolution; each level below has twice as many. By default chosen for the minutes."""

    widest: int | None = None
    """Most channels of a level of the decoder on an encoder."""

    depth: int = 4
    """Halvings of the classic U-Net."""

    norm: Norm = "batch"
    """Normalisation in the U-Net's own blocks."""

    upsampling: Upsampling = "transposed"
    """How the decoder doubles the resolution: by a transposed convolution; bilinearly after a 1x1 convolution; or, with
    bilinear_aligned, without one, as in other U-Nets that are around."""

    unshuffle: int | None = None
    """The finest level takes squares of 1, 2 or 4 pixels a side for one: less time and memory, coarser outlines. By
    default 1 without an encoder, else 4 for masks without thin parts and 2 for others."""

    # The pictures
    size: int | None = None
    """Longer side of the pictures during training and inside the model, pixels. By default chosen for the masks and
    the minutes."""

    factor: float | None = None
    """Pictures are used at this factor (at most 1) of their own size, instead of at one --size for all; it takes a
    --crop, by default one of 512 pixels."""

    crop: int | None = None
    """Training sees cut-outs of so many pixels a side, and the model predicts large pictures in tiles. With --minutes,
    an EfficientNet-Lite with weights, two classes and an open --size, a pilot run may choose them where outlines are
    hard."""

    small_first: float = 0.0
    """Share of the run (0..1) trained at half size first."""

    augment: bool = True
    """Move, turn, mirror and recolour the training pictures."""

    flip: float = 0.5
    """Probability of mirroring a picture left to right."""

    scale: float = 0.2
    """Pictures are enlarged or shrunk by up to this share."""

    shift: float = 0.1
    """Pictures are moved by up to this share of their sides."""

    rotate: float = 10.0
    """Pictures are turned by up to this many degrees."""

    colour: float = 0.3
    """Brightness, contrast and saturation change by up to this share, hue by a tenth of it."""

    tint: float | None = None
    """Share of the pictures (0..1) whose foreground gets colours of its own. By default half of them, where foregrounds
    differ in colour from picture to picture, and else none."""

    # The split
    group: str | None = None
    """Regular expression; what it finds in a picture's name is the group that a split never divides."""

    split: str | None = None
    """The split.json of an earlier run, to use again."""

    folds: int | None = None
    """Deal the groups out to so many parts; each is held out by one of as many models, trained within the minutes."""

    fold: int | None = None
    """Train only the model that holds out this one of the --folds, from 0."""

    val_share: float = 0.2
    """Share of the groups held out to choose the best weights."""

    test_share: float = 0.0
    """Share of the groups that nothing is chosen on; scored once at the end. With --folds no model learns from them,
    and `evaluate` scores them."""

    skip_bad: bool = False
    """Leave out pictures that cannot be used instead of refusing to start."""

    # Learning
    loss: str = "ce"
    """One of ce (cross-entropy, also called bce), focal, dice, iou, tversky, lovasz, or several added: ce+dice."""

    boundary_weight: float = 0.0
    """Pixels along outlines count so many times more in ce and focal; 0 counts all alike."""

    class_weights: ClassWeights = "auto"
    """auto: in ce and focal, pixels of rare classes count more, where there are several classes; none: all alike."""

    optimizer: Optimizer = "adamw"
    """The optimizer; sgd has Nesterov's momentum of 0.99, as in nnU-Net; muon leaves a pretrained encoder to adamw."""

    learning_rate: float = 1e-3
    """Peak learning rate."""

    find_rate: bool = False
    """Search the learning rate before the run, over some tens of steps; --learning-rate counts where none is found."""

    encoder_rate: float = 1.0
    """Pretrained weights of an encoder learn at this share of the learning rate."""

    weight_decay: float | None = None
    """Weight decay; biases and normalisation are left out. By default 0.01 with adamw and muon, and none with adam, sgd
    and rmsprop, where it would be added to the gradients."""

    schedule: Schedule = "cosine"
    """How the learning rate falls: to zero along a cosine or a power of 0.9, in steps, or not at all."""

    step_epochs: int = 5
    """With `step`: the learning rate is divided by ten after every so many epochs."""

    warmup: float = 0.05
    """Share of the run over which the learning rate rises to its peak."""

    batch_size: int | None = None
    """Pictures in a forward pass. By default chosen for the number of pictures, the minutes and the memory."""

    freeze: float = 0.0
    """Share of the run (0..1) in which an encoder's pretrained weights stay as they are."""

    held_levels: int | None = None
    """So many of a pretrained encoder's finest levels (of EfficientNet-Lite) stay as they are throughout the run. By
    default two, or three where a pilot run chooses --crop."""

    accumulate: int | None = None
    """Forward passes whose gradients are added up before a step. By default one, or as many as make up for a batch that
    had to be smaller to fit into memory."""

    clip_norm: float = 1.0
    """Largest norm of the gradients; 0 leaves them as they are."""

    ema: float = 0.99
    """Decay of the averaged weights, which are the ones kept; 0 keeps the raw weights."""

    # The length of the run
    minutes: float | None = None
    """The whole command ends within so many minutes, and the schedule with it."""

    epochs: int | None = None
    """Passes over the training pictures. With neither, ten minutes; with both, whichever ends first."""

    patience: int = 0
    """Stop after so many validations (one each epoch with --epochs) without a better median of the last three scores;
    0 never does."""

    overfit_check: bool = True
    """Before the run, see for a few seconds whether the network can learn a handful of cut-outs by heart."""

    # The machine
    seed: int = 0
    """Decides the split, the order, the augmentation and the first weights."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    memory: str | None = None
    """What training may take of the device's memory, such as 4GB, 3.5GiB or 800MB. By default what is free."""

    precision: Precision = "auto"
    """16 bit where the device is sound at it, else fp32."""

    storage: Storage | None = None
    """What is kept for the backward pass: plain keeps all, lean the outputs of convolutions, checkpointed those of
    stages. The gradients are the same. By default chosen for the memory; plain where nothing is said."""

    cache_gb: float = 20.0
    """Decoded pictures are kept for later runs up to this many gigabytes; 0 keeps none."""

    save_every: int = 0
    """The run is saved after so many steps, and after each validation: a kill loses no more. 0: every two minutes."""

    tensorboard: bool = False
    """Write the figures of metrics.jsonl, and some validation pictures, as events for TensorBoard as well."""

    workers: int | None = None
    """Processes that prepare samples. By default none on a CPU, up to four beside a GPU."""

    def __post_init__(self) -> None:
        """Refuse values that could only fail later."""
        _require_choices(self)
        for name in ("size", "batch_size", "accumulate", "step_epochs"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"--{_word(name)} must be at least 1")
        for name in ("size", "crop"):
            value = getattr(self, name)
            _require(value is None or value >= SMALLEST_SIDE, f"--{name} must be at least {SMALLEST_SIDE} pixels")
        _require(self.factor is None or 0 < self.factor <= 1, "--factor must be above 0 and at most 1")
        _require(
            self.size is None or self.factor is None,
            "--size and --factor exclude each other; --size None drops the size of a preset",
        )
        for name in ("small_first", "flip", "shift", "warmup", "freeze"):
            _require(0 <= getattr(self, name) <= 1, f"--{_word(name)} must lie between 0 and 1")
        _require(self.tint is None or 0 <= self.tint <= 1, "--tint must lie between 0 and 1")
        for name in ("scale", "colour", "ema", "val_share", "test_share"):
            _require(0 <= getattr(self, name) < 1, f"--{_word(name)} must be at least 0 and below 1")
        for name in (
            "rotate",
            "clip_norm",
            "patience",
            "seed",
            "cache_gb",
            "save_every",
            "boundary_weight",
            "encoder_rate",
        ):
            _require(getattr(self, name) >= 0, f"--{_word(name)} must be at least 0")
        _require(
            self.memory is None or parse_memory(self.memory) > 0,
            f"--memory is a size such as 4GB, 3.5GiB or 800MB, not {self.memory!r}",
        )
        _require(self.weight_decay is None or self.weight_decay >= 0, "--weight-decay must be at least 0")
        _require(self.workers is None or self.workers >= 0, "--workers must be at least 0")
        _require(self.held_levels is None or self.held_levels >= 0, "--held-levels must be at least 0")
        _require(self.val_share > 0, "--val-share must be above 0: the best weights are chosen on those pictures")
        _require(self.learning_rate > 0, "--learning-rate must be above 0")
        _require(self.minutes is None or self.minutes > 0, "--minutes must be above 0")
        _require(self.epochs is None or self.epochs >= 1, "--epochs must be at least 1")
        _require(self.folds is None or self.folds >= 2, "--folds must be at least 2")
        if self.fold is not None:
            _require(0 <= self.fold < (self.folds or 0), "--fold counts from 0 and needs as many --folds")
        _require(self.split is None or self.folds is None, "--split and --folds exclude each other")
        compile_group(self.group or "")
        for term in self.loss_terms():
            _require(term in LOSSES, f"--loss knows {', '.join(LOSSES)}, not {term!r}")
        _require(
            not self.encoder.startswith(f"{SMP}:"),
            f"{self.encoder} is a network of segmentation_models.pytorch, which can be used here but not trained; "
            "train one of our own",
        )
        # The rest of the checks are made where the network is built.
        self.architecture()
        _require(
            self.encoder_weights is None or self.encoder != "none",
            "--encoder-weights needs the --encoder that they belong to",
        )

    def loss_terms(self) -> list[str]:
        """The losses that are added up."""
        return [term.strip() for term in self.loss.split("+")]

    def with_length(self, minutes: float | None = None, epochs: int | None = None) -> "Settings":
        """The same with another length where one is given, and ten minutes where nothing ends the run."""
        minutes = self.minutes if minutes is None else minutes
        epochs = self.epochs if epochs is None else epochs
        if minutes is None and epochs is None:
            minutes = DEFAULT_MINUTES
        return dataclasses.replace(self, minutes=minutes, epochs=epochs)

    def chosen(self, name: Literal["size", "batch_size", "base_channels"]) -> int:
        """A setting that may have been left open, in a run where that is settled; see `training.recipe`.

        Raises:
            ValueError: It is still open.
        """
        value: int | None = getattr(self, name)
        if value is None:
            raise ValueError(f"{name} has not been chosen yet")
        return value

    def architecture(self, *, in_channels: int = 3, num_classes: int = 1) -> Architecture:
        """The network that these settings ask for; as it was published where something is still to be chosen."""
        return Architecture(
            encoder=self.encoder,
            in_channels=in_channels,
            num_classes=num_classes,
            base_channels=Architecture.base_channels if self.base_channels is None else self.base_channels,
            widest=self.widest,
            depth=self.depth,
            norm=self.norm,
            upsampling=self.upsampling,
            unshuffle=self.unshuffle or Architecture.unshuffle,
        )


def parse_memory(text: str) -> float:
    """Bytes of a size in words; 0 where it is none.

    >>> parse_memory("4GB"), parse_memory("3.5 GiB"), parse_memory("800mb"), parse_memory("much")
    (4000000000.0, 3758096384.0, 800000000.0, 0.0)
    """
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        return 0.0
    return float(found[1]) * math.pow(1024 if found[3] else 1000, 1 + "KMGT".index(found[2].upper()))


def compile_group(pattern: str) -> re.Pattern[str]:
    """The pattern that finds the group in the name of a picture.

    Raises:
        InputError: It is no regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group {pattern!r} is no regular expression ({error}); correct it.") from error


def choose_preset(minutes: float | None, gpu_gigabytes: float) -> str:
    """The preset where none is named: `best` with three hours to spend or a large GPU, else `quick`.

    A run by epochs alone is to be the same on every machine: then nobody asks how much memory there is.

    >>> choose_preset(5, gpu_gigabytes=0), choose_preset(5, gpu_gigabytes=24), choose_preset(180, gpu_gigabytes=4)
    ('quick', 'best', 'best')
    """
    is_long = minutes is not None and minutes >= MANY_MINUTES
    return "best" if is_long or gpu_gigabytes >= LARGE_GPU_GIGABYTES else "quick"


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("maskwright.presets")
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def nearest_preset(settings: Settings) -> str:
    """The preset that differs least from some settings, in what it does not leave open.

    >>> nearest_preset(dataclasses.replace(read_preset("quick"), minutes=5.0, augment=False))
    'quick'
    """
    fields = [field.name for field in dataclasses.fields(Settings)]

    def differences(name: str) -> int:
        preset = read_preset(name)
        said = [field for field in fields if getattr(preset, field) is not None]
        return sum(getattr(preset, field) != getattr(settings, field) for field in said)

    return min(preset_names(), key=differences)


def read_preset(name: str) -> Settings:
    """The settings of a preset by its name.

    Raises:
        InputError: There is no such preset.
    """
    if name not in preset_names():
        raise InputError(f"There is no preset {name!r}; choose one of {', '.join(preset_names())}.")
    text = resources.files("maskwright.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return settings_from(tomllib.loads(text), source=f"preset {name}")


def settings_from(table: dict[str, Any], *, source: str) -> Settings:
    """Settings from a TOML table; what it does not name keeps its default.

    Raises:
        InputError: The table names a setting that does not exist. ``source`` says where it came from.
    """
    known = {field.name for field in dataclasses.fields(Settings)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise InputError(f"{source}: there is no setting {unknown[0]!r}.")
    return Settings(**table)


def write_settings(path: Path, settings: Settings, *, started_from: Mapping[str, str] | None = None) -> None:
    """Write settings as TOML. A setting that is None is left out: TOML has no word for it.

    Args:
        path: Of the file.
        settings: To write.
        started_from: What is known of the model that the run started from, where it did; a table of its own.
    """
    table = {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}
    if started_from:
        table[STARTED_FROM] = dict(started_from)
    write_text(path, tomli_w.dumps(table))


def read_settings(path: Path) -> Settings:
    """Read what `write_settings` wrote, but for the model that the run started from."""
    table = _read_table(path)
    table.pop(STARTED_FROM, None)
    return settings_from(table, source=str(path))


def read_started_from(path: Path) -> dict[str, str]:
    """What the settings of a run say of the model that it started from; nothing where it started from none."""
    found: dict[str, str] = _read_table(path).get(STARTED_FROM, {})
    return found


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML ({error}); correct it.") from error


def _require_choices(config: "Architecture | MaskSettings") -> None:
    """Refuse words that a file or a script made up; the command line has checked its own."""
    for name, choice in _CHOICES.items():
        words = get_args(choice)
        if hasattr(config, name):
            listed = ", ".join(word for word in words if word)
            _require(getattr(config, name) in words, f"--{_word(name)} is one of {listed}")


def _require_encoder(word: str) -> None:
    """Refuse an encoder that nobody has; whether torchvision or timm has one of a name is found out by building it."""
    source, _, name = word.partition(":")
    listed = ", ".join(("none", *ENCODERS, *(f"{source}:NAME" for source in ENCODER_SOURCES)))
    known = word in ("none", *ENCODERS) or (source in (*ENCODER_SOURCES, SMP) and name != "")
    _require(known, f"--encoder is one of {listed}, not {word!r}")


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise InputError(f"{sentence}.")


def _word(name: str) -> str:
    return name.replace("_", "-")


MASKS_AS_TRAINED = MaskSettings()
"""Nothing is said of a model's masks, so they mean what they did in training."""
