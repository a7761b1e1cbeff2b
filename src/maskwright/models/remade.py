"""Maps that are not stored, but made when they are needed, in the backward pass once more; the gradients are the same.

A convolution is dear, and what lies between two of them is cheap: normalisation, ReLU, pooling, enlarging, putting maps
side by side. Autograd would keep what goes into each of them, or comes out; here a convolution stores the outputs of
those before it, and does the cheap things again when its gradient is asked for. docs/decisions/0017 has the reasons.
"""

import functools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

# The gradient of a large map passes its normalisation in so many pieces, each of some channels ...
PIECES = 16
# ... but of no fewer bytes, and of so many channels where those of a pixel lie side by side: less would be crumbs.
PIECE_BYTES, PIECE_CHANNELS_LAST = 2**20, 16

Convolution = nn.Conv2d | nn.ConvTranspose2d


@dataclass(frozen=True, eq=False)
class Remade:
    """A map that is made whenever it is needed, in the backward pass once more.

    Attributes:
        token: A tensor of its shape without data; its gradient is the map's, and so autograd knows the way.
        stored: What is kept for it.
        make: Makes it of what is kept. It holds none of that itself, or nothing could be freed.
    """

    token: Tensor
    stored: tuple[Tensor, ...]
    make: Callable[..., Tensor]

    @classmethod
    def of(cls, x: "Tensor | Remade") -> "Remade":
        """A tensor as a map that is simply kept."""
        return x if isinstance(x, Remade) else cls(x, (x,), _itself)

    def then(self, function: Callable[[Tensor], Tensor], token: Tensor) -> "Remade":
        """The map that a function makes of this one."""
        return Remade(token, self.stored, functools.partial(_then, self.make, function))

    def made(self) -> Tensor:
        """The map itself. It may be what is stored: not to be written to."""
        return self.make(*self.stored)


def convolve(
    parts: Sequence[Tensor | Remade],
    conv: Convolution,
    compute: Callable[[Tensor], Tensor] | None = None,
    *,
    sparing: bool = False,
) -> Tensor:
    """A convolution over maps side by side. It stores what they are made of.

    Args:
        parts: Maps ``(N, C_i, H, W)``; the convolution takes the channels of all of them.
        conv: The convolution.
        compute: What it does with its input, where that is not its ``forward``.
        sparing: Compute its two gradients one after the other, with one map less in memory and in a little more time.
    """
    remade = [Remade.of(part) for part in parts]
    tokens = (part.token for part in remade)
    apply: Callable[..., Tensor] = _Convolve.apply
    return apply(conv.weight, conv.bias, conv, compute or conv.forward, remade, None, sparing, *tokens)


def convolve_again(x: Remade, conv: Convolution, shape: Sequence[int]) -> Remade:
    """A convolution so cheap that its output, of a shape, is not stored either."""
    return x.then(conv.forward, _Convolve.apply(conv.weight, conv.bias, conv, conv.forward, [x], shape, False, x.token))


def activate(y: Tensor, norm: nn.Module, activation: nn.Module) -> Remade:
    """What a convolution put out, normalised and cut off. Running statistics take note of it here, once."""
    statistics = _statistics(y, norm)
    fixed = () if norm.training else statistics
    token = _Activate.apply(y, *(tuple(norm.parameters()) or (None, None)), norm, activation, fixed)
    return Remade(token, (y, *statistics), functools.partial(_activated, norm, activation))


def through(
    x: Remade,
    function: Callable[[Tensor], Tensor],
    shape: Sequence[int],
    *,
    make: Callable[[Tensor], Tensor] | None = None,
) -> Remade:
    """What a function without weights makes of a map, of a shape.

    Args:
        x: The map.
        function: Autograd knows its gradient.
        shape: Of what it makes.
        make: Makes the same, faster, where no gradient is asked for.
    """
    return x.then(make or function, _Through.apply(x.token, x, function, shape))


def forgetting(output: Tensor, parts: Sequence[Tensor | Remade], conv: Convolution) -> saved_tensors_hooks:
    """Within, autograd does not store what a convolution put out; it is computed again in the backward pass."""
    forgotten = _Forgotten(output, parts, conv)
    return saved_tensors_hooks(forgotten.pack, forgotten.unpack)


class _Activate(torch.autograd.Function):
    """The gradient of a normalisation and an activation, from what went in."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - what autograd hands to all functions
        y: Tensor,
        _weight: Tensor | None,
        _bias: Tensor | None,
        norm: nn.Module,
        activation: nn.Module,
        fixed: tuple[Tensor, ...],
    ) -> Tensor:
        """Nothing but a token; with fixed statistics, the normalisation does not look at the batch."""
        ctx.save_for_backward(y, *fixed)
        ctx.norm, ctx.activation, ctx.autocast = norm, activation, _autocast_of(y)
        return _token(y, y.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Writes into the gradient of its token: only functions of this module make one, and they keep none."""
        y, *fixed = ctx.saved_tensors
        layout = _layout(y)
        of_affine: list[tuple[Tensor, ...]] = []
        for part in _pieces(y, ctx.norm):
            piece = y[:, part].contiguous(memory_format=layout)
            leaves = [leaf.detach().requires_grad_() for leaf in (piece, *_affine(ctx.norm, part))]
            with torch.enable_grad(), ctx.autocast():
                normalised = _normalised(leaves[0], ctx.norm, leaves[1:], [tensor[part] for tensor in fixed])
                out = ctx.activation.forward(normalised)
            outer = grad[:, part].to(out.dtype, memory_format=layout)
            grad[:, part], *rest = torch.autograd.grad(out, leaves, outer)
            of_affine.append(tuple(rest))
        weight, bias = (torch.cat(pieces) for pieces in zip(*of_affine, strict=True)) if of_affine[0] else (None, None)
        return grad, weight, bias, None, None, None


class _Through(torch.autograd.Function):
    """The gradient of a function without weights, of a map that is made again."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        token: Tensor,
        x: Remade,
        function: Callable[[Tensor], Tensor],
        shape: Sequence[int],
    ) -> Tensor:
        """Nothing but a token of a shape."""
        ctx.save_for_backward(*x.stored)
        ctx.make, ctx.function, ctx.autocast = x.make, function, _autocast_of(token)
        return _token(token, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        with ctx.autocast():
            x = ctx.make(*ctx.saved_tensors).detach().requires_grad_()
            with torch.enable_grad():
                out = ctx.function(x)
        (of_x,) = torch.autograd.grad(out, x, grad.to(out.dtype))
        return of_x, None, None, None


class _Convolve(torch.autograd.Function):
    """The gradients of a convolution, from what its inputs are made of."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        weight: Tensor,
        _bias: Tensor | None,
        conv: Convolution,
        compute: Callable[[Tensor], Tensor],
        parts: Sequence[Remade],
        shape: Sequence[int] | None,
        sparing: bool,
        *tokens: Tensor,
    ) -> Tensor:
        """The output; with a shape, a token of it."""
        ctx.save_for_backward(weight, *(tensor for part in parts for tensor in part.stored))
        ctx.conv, ctx.autocast, ctx.sparing = conv, _autocast_of(weight), sparing
        ctx.parts = [(part.make, len(part.stored), part.token.shape) for part in parts]
        return compute(_side_by_side(parts)) if shape is None else _token(tokens[0], shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Part by part, so that nothing lies side by side: first all weights, whose inputs are made and let go.

        Both gradients at once are faster, where there is a single part; they need what goes in beside its gradient.
        """
        weight, *stored = ctx.saved_tensors
        learns, has_bias, _, _, _, _, _, *asked = ctx.needs_input_grad
        makes, counts, shapes = zip(*ctx.parts, strict=True)
        weights = torch.split(weight, [shape[1] for shape in shapes], dim=1) if len(shapes) > 1 else (weight,)
        at_once = len(shapes) == 1 and learns and asked[0] and not ctx.sparing
        of_weights: list[Tensor] = []
        of_inputs: list[Tensor | None] = []
        for make, count, own in zip(makes, counts, weights, strict=True):
            with ctx.autocast():
                x = make(*stored[:count]).to(grad.dtype) if learns else None
            if x is not None:
                gradients = _gradients(ctx.conv, grad, x, own, (at_once, True))
                of_weights.append(gradients[1].to(weight.dtype))
                of_inputs += gradients[:1] if at_once else ()
            x, stored = None, stored[count:]
        of_inputs = of_inputs or [
            _gradients(ctx.conv, grad, _token(grad, shape), own, (True, False))[0] if needed else None
            for shape, own, needed in zip(shapes, weights, asked, strict=True)
        ]
        of_weight = torch.cat(of_weights, dim=1) if len(of_weights) > 1 else next(iter(of_weights), None)
        of_bias = grad.sum((0, 2, 3)).to(weight.dtype) if has_bias else None
        return of_weight, of_bias, None, None, None, None, None, *of_inputs


class _Forgotten:
    """The output of a convolution that autograd does not store.

    Who asks for it first in the backward pass has it computed again; who asks last lets it go.
    """

    def __init__(self, output: Tensor, parts: Sequence[Tensor | Remade], conv: Convolution) -> None:
        self._output = weakref.ref(output)
        self._parts, self._conv, self._autocast = [Remade.of(part) for part in parts], conv, _autocast_of(output)
        self._askers = self._left = 0
        self._again: Tensor | None = None

    def pack(self, saved: Tensor) -> "Tensor | _Forgotten":
        """What autograd is to store instead of a tensor."""
        if saved is not self._output():
            return saved
        self._askers += 1
        return self

    def unpack(self, packed: "Tensor | _Forgotten") -> Tensor:
        """The tensor."""
        if isinstance(packed, Tensor):
            return packed
        if self._again is None:
            with torch.no_grad(), self._autocast():
                self._again, self._left = self._conv.forward(_side_by_side(self._parts)), self._askers
        again, self._left = self._again, self._left - 1
        if self._left == 0:
            self._again = None
        return again


def _gradients(
    conv: Convolution, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the input and the weight, as far as they are wanted. For that of the input, only its shape counts."""
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight.to(grad.dtype),
        None,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.transposed,
        conv.output_padding,
        conv.groups,
        (*wanted, False),
    )
    return gradients


def _side_by_side(parts: Sequence[Remade]) -> Tensor:
    """Maps made one after the other, each put at its place and let go; the last first, which takes most to be made."""
    last = parts[-1].made()
    if len(parts) == 1:
        return last
    channels = [part.token.shape[1] for part in parts]
    shape = (last.shape[0], sum(channels), *last.shape[2:])
    whole = torch.empty(shape, dtype=last.dtype, device=last.device, memory_format=_layout(last))
    *places, last_place = torch.split(whole, channels, dim=1)
    last_place.copy_(last)
    del last
    for part, place in zip(parts, places, strict=False):
        place.copy_(part.made())
    return whole


def _statistics(y: Tensor, norm: nn.Module) -> tuple[Tensor, ...]:
    """The mean and variance that a batch normalisation takes: of the batch, where it learns."""
    if not isinstance(norm, nn.BatchNorm2d):
        return ()
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    if not norm.training:
        return mean, variance
    norm.get_buffer("num_batches_tracked").add_(1)
    return torch.batch_norm_update_stats(y, mean, variance, cast(float, norm.momentum))


def _activated(norm: nn.Module, activation: nn.Module, y: Tensor, *statistics: Tensor) -> Tensor:
    return activation.forward(_normalised(y, norm, _affine(norm), statistics))  # type: ignore[no-any-return]


def _normalised(y: Tensor, norm: nn.Module, affine: Sequence[Tensor], statistics: Sequence[Tensor]) -> Tensor:
    """Of channels and what belongs to them, a tensor of its own, which an activation may write into."""
    match norm:
        case nn.BatchNorm2d():
            (mean, variance), (weight, bias) = statistics or (None, None), affine
            return F.batch_norm(y, mean, variance, weight, bias, training=not statistics, eps=norm.eps)
        case nn.GroupNorm():
            weight, bias = affine
            return F.group_norm(y, norm.num_groups * y.shape[1] // norm.num_channels, weight, bias, norm.eps)
        case nn.Identity():
            return y.clone()
    raise TypeError(f"{type(norm).__name__} cannot be done again")


def _affine(norm: nn.Module, part: slice = slice(None)) -> tuple[Tensor, ...]:
    """Scale and shift of some channels; nothing without a normalisation."""
    return (norm.weight[part], norm.bias[part]) if isinstance(norm, (nn.BatchNorm2d, nn.GroupNorm)) else ()


def _pieces(y: Tensor, norm: nn.Module) -> Iterator[slice]:
    """Channels that are normalised apart from all others, a few at a time."""
    channels = y.shape[1]
    together = channels // norm.num_groups if isinstance(norm, nn.GroupNorm) else 1
    least = PIECE_CHANNELS_LAST if _layout(y) == torch.channels_last else 1
    step = max(channels // PIECES, PIECE_BYTES * channels // (y.numel() * y.element_size()), least)
    step = math.ceil(step / together) * together
    return (slice(first, first + step) for first in range(0, channels, step))


def _layout(x: Tensor) -> torch.memory_format:
    plain = x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last)
    return torch.contiguous_format if plain else torch.channels_last


def _token(like: Tensor, shape: Sequence[int]) -> Tensor:
    return like.new_empty(()).expand(*shape)


def _autocast_of(x: Tensor) -> Callable[[], torch.autocast]:
    """The precision that operations are computed in here and now, to go back to in the backward pass."""
    kind = x.device.type
    return functools.partial(torch.autocast, kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))


def _itself(x: Tensor) -> Tensor:
    return x


def _then(make: Callable[..., Tensor], function: Callable[[Tensor], Tensor], *stored: Tensor) -> Tensor:
    return function(make(*stored))
