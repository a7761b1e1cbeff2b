"""Other ways to train a segmentation network, for `quality_per_minute.py` to measure beside ours.

    python benchmarks/peers.py smp-lite0 PHOTOS --split FILE --size 384 --minutes 5 --seed 0 --out FOLDER

Each peer is trained as its own authors show it, untuned, and where there is a doubt, in the way that is better for
the peer:

- Its minutes count reading and training alone. Starting Python and torch, finding the files, building the network and
  trying out what computes fastest here come before; predicting and scoring come after. (The minutes of ours are those
  of the whole command.)
- Pictures are decoded in as many threads as ours, once, and stay in memory as tensors.
- fp32 or bf16, rows or channels last: whichever makes a training step of this network fastest. Freed memory is kept,
  as ours does (docs/decisions/0037).
- The learning rate falls along a cosine that reaches zero exactly with the end of the minutes. No picture is held out
  to choose weights on: all are learnt from, and the last weights count.
- Each batch is full: what a pass leaves over begins the next one.
- Logits are enlarged to the picture's own size before they are thresholded, not masks afterwards.

Sources, read for their recipes; no code is taken from them:

- segmentation_models.pytorch, ``examples/binary_segmentation_buildings.py`` and ``binary_segmentation_intro.ipynb``:
  ``Unet``, Dice loss on logits, Adam at 2e-4, batches of 8 (the notebook's 16 would halve the number of steps), no
  augmentation, pictures resized to one size without keeping their shape, masks with the nearest neighbour.
- milesial/Pytorch-UNet, ``train.py``: RMSprop (1e-5, weight decay 1e-8, momentum 0.999), cross-entropy plus Dice,
  gradients clipped at 1, batches of 1, pixels in 0..1, no augmentation. Its plateau schedule, which needs pictures of
  its own to validate on, is the cosine here.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.config import MaskSettings
from maskwright.data import image_files
from maskwright.data.finding import find_dataset
from maskwright.data.label_survey import read_options
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, choose_formats, read_pair
from maskwright.data.splits import read_split
from maskwright.data.threads import in_threads
from maskwright.device import choose_precision, read_facts
from maskwright.files import write_json
from maskwright.inference.outputs import as_rgb
from maskwright.interop.weights import read_imagenet_weights
from maskwright.models.unet import UNet
from maskwright.training.machine_memory import keep_freed_memory

LITE0 = "tu-tf_efficientnet_lite0"
# Blocks in each stage of EfficientNet-Lite0, as timm numbers them.
LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
# Convolutions and normalisations of a block: the reference's names, and timm's; the first block expands nothing.
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# Every network here halves its input five times at most.
SIDE_MULTIPLE = 32
TRIAL_STEPS = 3


@dataclass(frozen=True)
class Peer:
    """A network and its authors' way to train it.

    Attributes:
        build: The network with its first weights; takes normalised pictures ``(N, 3, H, W)``, gives logits.
        mean: Of each channel of pixels in 0..1, to be subtracted.
        std: What is divided by then.
        loss: Of logits and hard masks of 0 and 1, both ``(N, 1, H, W)``.
        optimizer: Over the parameters of a network.
        batch_size: Pictures in a step.
        clip_norm: Largest norm of the gradients.
        needs_smp: Whether segmentation_models_pytorch has to be installed.
    """

    build: Callable[[], nn.Module]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batch_size: int
    clip_norm: float = math.inf
    needs_smp: bool = True


@dataclass(frozen=True)
class Way:
    """How a network computes."""

    precision: str
    channels_last: bool


def timm_weights(reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the EfficientNet-Lite0 package under the names of timm's ``features_only`` network.

    The last convolution and the classifier, which give no feature map, are left out.
    """
    places = [f"blocks.{stage}.{block}" for stage, blocks in enumerate(LITE0_BLOCKS) for block in range(blocks)]
    named = {}
    for name, tensor in reference.items():
        part, *rest = name.split(".")
        if part == "_blocks":
            index, layer, leaf = rest
            words = LATER_BLOCKS if int(index) else FIRST_BLOCK
            named[f"{places[int(index)]}.{words[layer]}.{leaf}"] = tensor
        elif part in ("_conv_stem", "_bn0"):
            named[f"{'conv_stem' if part == '_conv_stem' else 'bn1'}.{rest[0]}"] = tensor
    return named


def build_smp_lite0() -> nn.Module:
    """A U-Net of segmentation_models.pytorch on the very weights that ours starts from."""
    import segmentation_models_pytorch as smp

    reference = read_imagenet_weights("efficientnet_lite0")
    assert reference is not None
    network: nn.Module = smp.Unet(LITE0, encoder_weights=None, in_channels=3, classes=1)
    network.get_submodule("encoder.model").load_state_dict(timm_weights(reference), strict=True)
    return network


def build_smp_resnet34() -> nn.Module:
    """The network of the examples of segmentation_models.pytorch, from random weights."""
    import segmentation_models_pytorch as smp

    network: nn.Module = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=1)
    return network


def smp_dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """The Dice loss of segmentation_models.pytorch."""
    import segmentation_models_pytorch as smp

    loss: Tensor = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)(logits, masks)
    return loss


def ce_and_dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy plus one minus the Dice coefficient over the batch."""
    probabilities = logits.sigmoid()
    overlap, total = (probabilities * masks).sum(), probabilities.sum() + masks.sum()
    return F.binary_cross_entropy_with_logits(logits, masks) + 1 - (2 * overlap + 1e-6) / (total + 1e-6)


def adam(network: nn.Module) -> torch.optim.Optimizer:
    """As in the examples of segmentation_models.pytorch."""
    return torch.optim.Adam(network.parameters(), lr=2e-4)


def rmsprop(network: nn.Module) -> torch.optim.Optimizer:
    """As milesial/Pytorch-UNet trains."""
    return torch.optim.RMSprop(network.parameters(), lr=1e-5, weight_decay=1e-8, momentum=0.999, foreach=True)


PEERS = {
    # The normalisation that timm and segmentation_models.pytorch give for these weights.
    "smp-lite0": Peer(build_smp_lite0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), smp_dice_loss, adam, 8),
    "smp-resnet34": Peer(build_smp_resnet34, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), smp_dice_loss, adam, 8),
    "classic-common": Peer(
        UNet, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ce_and_dice_loss, rmsprop, 1, clip_norm=1.0, needs_smp=False
    ),
}


def one_size(shapes: Sequence[tuple[int, int]], longer_side: int) -> tuple[int, int]:
    """The height and width that all pictures of a set are resized to: the set's median shape, in multiples of 32."""
    ratio = median(height / width for height, width in shapes)
    shorter = max(SIDE_MULTIPLE, SIDE_MULTIPLE * round(longer_side * min(ratio, 1 / ratio) / SIDE_MULTIPLE))
    return (shorter, longer_side) if ratio <= 1 else (longer_side, shorter)


def read_at(pair: Pair, formats: Formats, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A picture ``(3, H, W)`` and its hard mask ``(1, H, W)``, both uint8."""
    image, mask = read_pair(pair, formats)
    small = image_files.resize_image(as_rgb(image), *size)
    hard = image_files.resize_classes(mask, *size)
    return torch.from_numpy(small.transpose(2, 0, 1).copy()), torch.from_numpy(hard.copy())[None]


def normalise(images: Tensor, peer: Peer) -> Tensor:
    """Pixels ``(N, 3, H, W)`` uint8 as the network takes them."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (peer.mean, peer.std))
    return (images.float() / 255 - mean) / std


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, peer: Peer, way: Way, images: Tensor, masks: Tensor
) -> None:
    """Learn from one batch of uint8."""
    pixels = normalise(images, peer)
    if way.channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=way.precision == "bf16"):
        logits = network(pixels)
    peer.loss(logits.float(), masks.float()).backward()  # type: ignore[no-untyped-call]
    if peer.clip_norm < math.inf:
        nn.utils.clip_grad_norm_(network.parameters(), peer.clip_norm)
    optimizer.step()


def in_format(network: nn.Module, way: Way) -> nn.Module:
    """The network with its weights laid out as it computes."""
    return network.to(memory_format=torch.channels_last) if way.channels_last else network


def try_ways(network: nn.Module, peer: Peer, size: tuple[int, int]) -> dict[Way, float]:
    """Seconds of a training step in each way to compute, at best of a few; the network stays as it is."""
    precisions = ("fp32", "bf16") if choose_precision(read_facts("cpu")) == "bf16" else ("fp32",)
    images = torch.randint(0, 256, (peer.batch_size, 3, *size), dtype=torch.uint8)
    masks = torch.randint(0, 2, (peer.batch_size, 1, *size), dtype=torch.uint8)
    seconds = {}
    for way in (Way(precision, last) for precision, last in product(precisions, (False, True))):
        trial = in_format(copy.deepcopy(network), way).train()
        optimizer = peer.optimizer(trial)
        taken = []
        for _ in range(1 + TRIAL_STEPS):
            started = time.perf_counter()
            step(trial, optimizer, peer, way, images, masks)
            taken.append(time.perf_counter() - started)
        seconds[way] = min(taken[1:])
    return seconds


def train(
    network: nn.Module, peer: Peer, way: Way, read: Callable[[], tuple[Tensor, Tensor]], *, seconds: float, seed: int
) -> dict[str, float]:
    """Read the pictures and learn from them until the seconds are over.

    Returns:
        Seconds of all and of reading, steps, and passes over the pictures.
    """
    started = time.monotonic()
    images, masks = read()
    reading = time.monotonic() - started
    optimizer = peer.optimizer(network)
    peak = optimizer.param_groups[0]["lr"]
    shuffle = torch.Generator().manual_seed(seed)
    network.train()
    steps = seen = 0
    order = torch.randperm(len(images), generator=shuffle)
    while (elapsed := time.monotonic() - started) < seconds:
        if len(order) < peer.batch_size:
            # What is left begins the next pass: a batch of a picture or two would weigh as much as a whole one.
            order = torch.cat([order, torch.randperm(len(images), generator=shuffle)])
        chosen, order = order[: peer.batch_size], order[peer.batch_size :]
        for group in optimizer.param_groups:
            group["lr"] = peak * (1 + math.cos(math.pi * elapsed / seconds)) / 2
        step(network, optimizer, peer, way, images[chosen], masks[chosen])
        steps, seen = steps + 1, seen + len(chosen)
    return {
        "seconds": round(time.monotonic() - started, 1),
        "reading_seconds": round(reading, 1),
        "steps": steps,
        "epochs": round(seen / len(images), 1),
    }


def mask_maker(name: str, weights: Path, size: tuple[int, int]) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """From a picture to its mask ``(H, W)`` of 0 and 1 at the picture's own size, by weights that `main` left."""
    peer = PEERS[name]
    network = peer.build()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()

    def predict(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        small = image_files.resize_image(as_rgb(image), *size)
        with torch.inference_mode():
            logits = network(normalise(torch.from_numpy(small.transpose(2, 0, 1).copy())[None], peer))
            large = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
        return (large[0, 0] > 0).numpy().astype(np.uint8)

    return predict


def main() -> None:
    """Train one peer, and leave its weights and what is to be said of the run in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    peer = PEERS[options.name]
    pairing = find_dataset(options.photos)
    part_of = read_split(options.split)
    pairs = [pair for pair in pairing.pairs if part_of[pair.name] == "train"]
    wishes = read_options(MaskSettings(), pairing.classes)
    formats, _ = choose_formats(pairing.pairs, wishes, advance=lambda: None)
    stored = [image_files.describe(pair.image) for pair in pairs]
    size = one_size([(picture.height, picture.width) for picture in stored], options.size)
    torch.manual_seed(options.seed)
    network = peer.build()
    keep_freed_memory()
    seconds_of = try_ways(network, peer, size)
    way = min(seconds_of, key=seconds_of.__getitem__)

    def read() -> tuple[Tensor, Tensor]:
        samples = list(in_threads(lambda pair: read_at(pair, formats, size), pairs))
        images, masks = (torch.stack(tensors) for tensors in zip(*samples, strict=True))
        return images, masks

    network = in_format(network, way)
    figures = train(network, peer, way, read, seconds=options.minutes * 60, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.save(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, options.out / "weights.pth"
    )
    run = {
        **figures,
        "height_and_width": size,
        "batch_size": peer.batch_size,
        **asdict(way),
        "seconds_per_step_tried": {
            f"{tried.precision}{' channels_last' if tried.channels_last else ''}": round(seconds, 4)
            for tried, seconds in seconds_of.items()
        },
        "threads": torch.get_num_threads(),
    }
    write_json(options.out / "run.json", run)
    print(json.dumps(run))


if __name__ == "__main__":
    main()
