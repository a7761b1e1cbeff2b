"""The most memory that a training will hold at one moment, known before it runs and without touching that memory.

A step is traced on tensors that have a shape and no content. Between two of its convolutions it holds a fixed part and
a part for every pixel of the batch; so two traces of different pixels tell the course of a step of any batch and size,
and its largest moment is the peak. What no trace sees, such as scratch memory of a GPU, is an allowance.
"""

import dataclasses
import functools
import math
import operator
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from maskwright.config import Architecture, Settings, Storage
from maskwright.data.dataset import SIDE_MULTIPLE
from maskwright.device import ComputePrecision
from maskwright.errors import InputError
from maskwright.models.build import build_network
from maskwright.models.storage import store
from maskwright.training.freezing import hold, in_finest_levels, pretrained_layers
from maskwright.training.losses import compute_loss
from maskwright.training.step import compute_logits

# A batch to trace. Its sides are not small: rows that some convolutions add at the edges are no share of the pixels.
TRACED_BATCH, TRACED_SIDE = 2, 256
# Numbers that an optimizer keeps for each weight, at most.
KEPT_BY_OPTIMIZER = {"adamw": 2, "adam": 2, "muon": 2, "rmsprop": 2, "sgd": 1}
# The loss `lovasz` sorts the pixels that count, and no trace knows how many those are. Of each pixel and channel it
# holds errors, truth, their order in 8 bytes, and sums along it, most of them until the backward pass.
LOVASZ_BYTES = 48.0
# Allowances on a GPU, until two steps have been measured on it: for scratch memory of convolutions and matrix products
# (cuBLAS takes 8.5 MB, on Hopper 33: pytorch/pytorch pull request 120925; cuDNN more, as it likes), and for the holes
# between the blocks of torch's allocator, as a share of what lies in it. Assumptions, both of them.
CUDA_SCRATCH, CUDA_HOLES = 200e6, 0.05
# The courses that were traced in this process.
_traced: dict[tuple[object, ...], "Course"] = {}


class CannotPlanError(InputError):
    """A network does something that depends on what is in its tensors."""


@dataclass(frozen=True)
class Step:
    """What decides how much memory a step of a given network takes.

    Attributes:
        height: Of the pictures as they are learnt from, pixels.
        width: Likewise.
        batch_size: Pictures in a forward pass.
        accumulate: Forward passes before the optimizer's step.
        storage: How activations are kept for the backward pass.
        precision: What the forward pass computes in.
    """

    height: int
    width: int
    batch_size: int
    accumulate: int = 1
    storage: Storage = "plain"
    precision: ComputePrecision = "fp32"


@dataclass(frozen=True)
class Peak:
    """What is held at the largest moment of training, in bytes.

    Attributes:
        process: Before training: Python and torch in main memory, or a GPU's context.
        weights: Of the network.
        average: Averaged weights.
        remembered: Weights to go back to; they lie in main memory.
        optimizer: What it keeps of each weight.
        gradients: Those that are there at that moment.
        activations: The batch, what is kept of the forward pass, and what is being computed.
        allowance: For what cannot be known before, and what earlier steps on this device taught.
    """

    process: float
    weights: float
    average: float
    remembered: float
    optimizer: float
    gradients: float
    activations: float
    allowance: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Each part by its name."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Course:
    """The most bytes that a step, and a validation after it, hold between two convolutions, besides the weights.

    Attributes:
        fixed: Whatever the batch.
        per_pixel: For each pixel of the batch.
        gradients: Of the weights.
        weights: Of the network, what it learns and what it counts.
        learnt: The part of them that is learnt.
        multiple: What the network pads both sides of a picture to.
    """

    fixed: NDArray[np.float64]
    per_pixel: NDArray[np.float64]
    gradients: NDArray[np.float64]
    weights: float
    learnt: float
    multiple: int

    def pixels(self, step: Step) -> int:
        """Pixels of a batch, as the loader and the network pad it."""
        sides = (_padded(_padded(side, SIDE_MULTIPLE), self.multiple) for side in (step.height, step.width))
        return step.batch_size * math.prod(sides)


def predict_peak(
    architecture: Architecture,
    settings: Settings,
    step: Step,
    *,
    device: str = "cpu",
    process: float = 0.0,
    correction: float = 1.0,
) -> Peak:
    """Predict the most memory that training holds at one moment.

    Args:
        architecture: Of the network.
        settings: Decide the loss, the optimizer and whether weights are averaged.
        step: What is done at once.
        device: Which memory is meant; the device need not be here.
        process: Bytes that are held there before.
        correction: What earlier steps took, as a share of what was predicted for them.

    Raises:
        CannotPlanError: The network cannot be traced.
    """
    course = trace(architecture, settings, step, device=device)
    pixels = course.pixels(step)
    # Of several forward passes, all but the first meet the gradients of those before.
    gradients = course.gradients if step.accumulate == 1 else np.full_like(course.gradients, course.learnt)
    activations = course.fixed + course.per_pixel * pixels
    largest = int((activations + gradients).argmax())
    sorted_pixels = pixels * architecture.num_classes if "lovasz" in settings.loss_terms() else 0
    on_gpu = device.startswith("cuda")
    peak = Peak(
        process=process,
        weights=course.weights,
        average=course.weights if settings.ema > 0 else 0.0,
        remembered=0.0 if on_gpu else course.weights,
        optimizer=KEPT_BY_OPTIMIZER[settings.optimizer] * course.learnt,
        gradients=float(gradients[largest]),
        activations=float(activations[largest]) + LOVASZ_BYTES * sorted_pixels,
    )
    known = peak.total - process
    expected = correction * (known + (CUDA_SCRATCH + CUDA_HOLES * known if on_gpu else 0.0))
    return dataclasses.replace(peak, allowance=expected - known)


def trace(architecture: Architecture, settings: Settings, step: Step, *, device: str = "cpu") -> Course:
    """The course of such a step, at any size; traced once in a process for all that decides it.

    Raises:
        CannotPlanError: The network cannot be traced.
    """
    terms = tuple(term for term in settings.loss_terms() if term != "lovasz") or ("ce",)
    weighted = settings.class_weights == "auto" and architecture.num_classes > 1
    copies = device == "cpu" and step.precision == "fp32"
    work = _Work(step.precision, step.storage, settings.held_levels or 0, copies)
    key = (str(architecture), terms, settings.boundary_weight, weighted, work)
    try:
        if key not in _traced:
            loss_of = functools.partial(
                compute_loss,
                terms,
                boundary_weight=settings.boundary_weight,
                class_weights=(1.0,) * architecture.num_classes if weighted else (),
            )
            _traced[key] = _trace(architecture, loss_of, work)
        return _traced[key]
    except RuntimeError as error:
        raise CannotPlanError(
            f"What {architecture.encoder} holds in memory cannot be predicted ({str(error).splitlines()[0]}): "
            "--size and --batch-size, without --memory, have to be found by trying."
        ) from error


def _trace(architecture: Architecture, loss_of: Callable[..., Tensor], work: "_Work") -> Course:
    """Trace a batch and one of twice as many pixels, and tell apart what depends on them."""
    with _without_content():
        network = store(build_network(architecture), work.storage)
        multiple = int(network.coarsest)  # type: ignore[arg-type]
        learnt, counted = (sum(part.nbytes for part in parts) for parts in (network.parameters(), network.buffers()))
        side = _padded(TRACED_SIDE, multiple)
        small, large = (_watch_step(network, architecture, (side, width), loss_of, work) for width in (side, 2 * side))
    if len(small.held) != len(large.held):
        raise RuntimeError("it does other things at other sizes")
    pixels = TRACED_BATCH * side**2
    held = np.array(small.held, np.float64)
    per_pixel = (np.array(large.held, np.float64) - held) / pixels
    gradients = np.array(small.gradients, np.float64)
    return Course(held - per_pixel * pixels, per_pixel, gradients, learnt + counted, learnt, multiple)


@dataclass(frozen=True)
class _Work:
    """What decides the course of a step, besides the network and the loss.

    Attributes:
        precision: See `Step`.
        storage: Likewise.
        held_levels: See `Settings`.
        copies: Whether a convolution holds its maps once more while it computes, in the layout that it is fastest in.
    """

    precision: ComputePrecision
    storage: Storage
    held_levels: int
    copies: bool


def _watch_step(
    network: nn.Module,
    architecture: Architecture,
    sides: tuple[int, int],
    loss_of: Callable[..., Tensor],
    work: _Work,
) -> "_Watch":
    """What is held while a batch is learnt from, while weights move, and while as many pictures are validated."""
    network.train().zero_grad(set_to_none=True)
    held, _ = in_finest_levels(network, pretrained_layers(network), work.held_levels)
    hold(held, held=True)
    watch = _Watch(network, copies=work.copies)
    with watch:
        images, targets, weights = (
            torch.empty(TRACED_BATCH, channels, *sides)
            for channels in (architecture.in_channels, architecture.num_classes, 1)
        )
        logits = compute_logits(network, images, work.precision)
        loss = loss_of(logits, targets, weights)
        torch.autograd.backward(loss)
        # Optimizers go through the weights one by one; on a GPU all at once, with one number in between for each.
        between = [torch.empty_like(parameter) for parameter in network.parameters()]
        del between, logits, loss
        network.eval()
        with torch.no_grad():
            logits = compute_logits(network, images, work.precision)
        loss_of(logits, targets, weights)
    return watch


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made while it looks on, for as long as they are there.

    Convolutions part the step: there are as many of them whatever the size, and what is between may be done in pieces.

    Attributes:
        held: The most bytes from each convolution to the next, without gradients of weights.
        gradients: Bytes of these at the end of each part.
    """

    def __init__(self, network: nn.Module, *, copies: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._copies = copies
        self.held = [0]
        self.gradients = [0]
        self._now = self._of_gradients = 0
        known = (*network.parameters(), *network.buffers())
        self._alive: dict[int, object] = {id(tensor.untyped_storage()): tensor for tensor in known}
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._note_gradient)  # type: ignore[no-untyped-call]
            for parameter in network.parameters()
            if parameter.requires_grad
        ]

    def __exit__(self, *error: object) -> None:
        """Look away."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Do what was to be done, and count what it made."""
        made = _SHORT_WAYS.get(function, function)(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        copied = 0
        if function in _CONVOLUTIONS:
            self.held.append(0)
            self.gradients.append(0)
            maps = (args[0], args[1] if function is _CONVOLUTIONS[1] else made)
            copied = sum(one.nbytes for one in maps if isinstance(one, Tensor)) if self._copies else 0
        self.held[-1] = max(self.held[-1], self._now + copied - self._of_gradients)
        self.gradients[-1] = self._of_gradients
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._alive:
            return

        def forget(_: object) -> None:
            self._now -= size
            del self._alive[key]

        self._now += size
        self._alive[key] = weakref.ref(storage, forget)

    def _note_gradient(self, parameter: Tensor) -> None:
        assert parameter.grad is not None  # noqa: S101 - it has just been added to
        self._of_gradients += parameter.grad.nbytes


def _normalise(x: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    """The result of normalisation, and the mean and deviation that it keeps."""
    return torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


def _normalise_backward(gradient: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of what was normalised, and of the factors and offsets."""
    return _normalise(gradient)


# Forwards, of a map; backwards, of a gradient and a map.
_CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)
# Without content, torch does these by dozens of small operations, which took half of the time of tracing.
_SHORT_WAYS: dict[Callable[..., object], Callable[..., object]] = {
    torch.ops.aten.native_batch_norm.default: _normalise,
    torch.ops.aten.native_batch_norm_backward.default: _normalise_backward,
    torch.ops.prim.device.default: operator.attrgetter("fake_device"),
}


@contextmanager
def _without_content() -> Iterator[None]:
    """Let tensors have a shape and no content.

    `FakeTensorMode` is no public part of torch, and nothing else of ours touches it. It imitates a CPU on every
    machine: an imitated GPU fails in the backward pass where there is none.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with warnings.catch_warnings(), FakeTensorMode():
        warnings.simplefilter("ignore")
        yield


def _padded(side: int, multiple: int) -> int:
    return side + -side % multiple
