"""The whole way from a stored picture to its mask as one network, for exports to hold all of it.

It computes what `inference.predictor` does, with tensors alone and for any size: every export is made of this, so that
what happens to a picture is written down twice in the project and not once for each format.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from maskwright.data.resizing import Resize
from maskwright.inference.model_file import ModelCard


class PictureToMask(nn.Module):
    """A trained network with all that comes before and after it.

    Args:
        network: In evaluation mode; it knows its ``coarsest`` stride.
        card: The model that it belongs to.
    """

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.coarsest = int(network.coarsest)  # type: ignore[arg-type]  # a number; nn.Module promises a tensor
        self.resize = card.resize
        self.threshold = card.threshold_logit
        self.binary = card.architecture.num_classes == 1
        # An imported network may have two logits for two classes; see `Predictor.classes`.
        self.paired = card.architecture.num_classes == 2 and card.threshold != 0.5

    def forward(self, image: Tensor, resized: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of pictures of one size to masks, probabilities and logits, all at that size.

        Args:
            image: ``(N, H, W, C)``, uint8.
            resized: Whether they, or the pictures that they are tiles of, have been resized already, ``()``, bool.

        Returns:
            Classes ``(N, H, W)``, uint8; probabilities and logits ``(N, K, H, W)``, of the foreground alone where ``K``
            is 1.
        """
        height, width = image.shape[1:3]
        stored = torch.stack([torch.full((), height), torch.full((), width)])
        size = shape_of(stored, self.resize)
        if resized is not None:
            size = torch.where(resized, stored, size)
        rows, columns = self._padded(size)
        is_fit = (stored == size).all()
        x = image.permute(0, 3, 1, 2)  # (N, C, H, W)
        # Branches of a graph take tensors alone; the sides of their results come with these, whose values do not count.
        padded, original = torch.zeros(rows, columns, dtype=torch.uint8), image[0, :, :, 0]
        x = _branch(is_fit, pad, resize_pixels, (x, stored, size, padded))
        x = x.reshape(image.shape[0], image.shape[3], rows, columns)
        logits = self.network(x / 255)  # (N, K, rows, columns)
        logits = _branch(is_fit, crop, _resize_logits, (logits, size, stored, original))
        logits = logits.reshape(image.shape[0], -1, height, width)

        if self.binary:
            return (logits[:, 0] >= self.threshold).to(torch.uint8), logits.sigmoid(), logits
        leads = logits[:, 1] - logits[:, 0] >= self.threshold if self.paired else logits.argmax(dim=1)
        return leads.to(torch.uint8), logits.softmax(dim=1), logits

    def _padded(self, size: Tensor) -> tuple[int, int]:
        """Sides that the network takes without padding them itself."""
        blocks = ((size + self.coarsest - 1) // self.coarsest).clamp(min=2)
        # Of no type yet: while the graph is traced, they are symbols.
        rows, columns = blocks[0].item(), blocks[1].item()
        for count in (rows, columns):
            torch._check(count >= 2)  # which torch.export cannot see by itself
        return rows * self.coarsest, columns * self.coarsest  # type: ignore[return-value]


def _branch(
    condition: Tensor, where_true: Callable[..., Tensor], where_false: Callable[..., Tensor], given: tuple[Tensor, ...]
) -> Tensor:
    """What one of two functions makes of what is given; a graph keeps both.

    `torch.cond` compiles both before it does the same: that takes as long as all the rest of tracing, and is for
    functions that use more than they are given.
    """
    chosen: tuple[Tensor] = torch.ops.higher_order.cond(
        condition, lambda *given: (where_true(*given),), lambda *given: (where_false(*given),), given
    )
    return chosen[0]


def shape_of(stored: Tensor, resize: Resize) -> Tensor:
    """Height and width as `Resize.shape_of` chooses them, all ``(2,)``."""
    if resize.factor is not None:
        return (stored.double() * resize.factor).round().long().clamp(min=1)
    assert resize.size is not None  # noqa: S101 - one of both is there
    longest = stored.max()
    return ((2 * stored * resize.size + longest) // (2 * longest)).clamp(min=1)


def resize_pixels(x: Tensor, stored: Tensor, wanted: Tensor, padded: Tensor) -> Tensor:
    """Stored pixels ``(N, C, H, W)`` to whole numbers ``(N, C, rows, columns)``, exactly as Pillow resizes them."""
    rows, columns = padded.shape
    high, low = _fixed_point(triangle(stored[1], wanted[1], inputs=x.shape[3], outputs=columns))
    x = x.float()
    x = rounded(x @ high.T, x @ low.T)
    high, low = _fixed_point(triangle(stored[0], wanted[0], inputs=x.shape[2], outputs=rows))
    return rounded(high @ x, low @ x)


def pad(x: Tensor, _stored: Tensor, wanted: Tensor, padded: Tensor) -> Tensor:
    """The same for pictures of the wanted size, which are only padded: the last row and column are repeated."""
    rows, columns = padded.shape
    down = torch.minimum(torch.arange(rows), wanted[0] - 1)
    right = torch.minimum(torch.arange(columns), wanted[1] - 1)
    return x.index_select(2, down).index_select(3, right).float()


def _resize_logits(logits: Tensor, stored: Tensor, wanted: Tensor, original: Tensor) -> Tensor:
    """Padded logits ``(N, K, rows, columns)`` to ``(N, K, height, width)``."""
    height, width = original.shape
    across = triangle(stored[1], wanted[1], inputs=logits.shape[3], outputs=width)
    down = triangle(stored[0], wanted[0], inputs=logits.shape[2], outputs=height)
    return shares(down) @ (logits @ shares(across).T)


def crop(logits: Tensor, _stored: Tensor, _wanted: Tensor, original: Tensor) -> Tensor:
    """The same for logits of the wanted size."""
    height, width = original.shape
    return logits.index_select(2, torch.arange(height)).index_select(3, torch.arange(width))


def triangle(stored: Tensor, wanted: Tensor, *, inputs: int, outputs: int) -> Tensor:
    """Resizing along one side as a matrix product: the weights of Pillow's triangle filter.

    The padding of both sides is a part of it: outputs beyond ``wanted`` repeat the last one, inputs beyond ``stored``
    have no weight.

    Args:
        stored: Values along the side before.
        wanted: Values along the side afterwards.
        inputs: Values before, with padding.
        outputs: Values afterwards, with padding.

    Returns:
        ``(outputs, inputs)``, whole numbers: what each input weighs beside the others of its row.
    """
    source = torch.arange(inputs)
    target = torch.minimum(torch.arange(outputs), wanted - 1).unsqueeze(1)
    # Of the centres, times 2 * stored * wanted.
    distance = ((2 * source + 1) * wanted - (2 * target + 1) * stored).abs()
    return (2 * torch.maximum(stored, wanted) - distance).clamp(min=0) * (source < stored)


def shares(weights: Tensor) -> Tensor:
    """Weights as shares of their row, float32."""
    return weights.float() / weights.sum(dim=1, keepdim=True).float()


def _fixed_point(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as shares of their row in steps of 2**-22, as Pillow has them: the upper and the lower 11 bits, float32.

    Sums of 8-bit values with either are whole numbers that float32 holds exactly, in any order.
    """
    total = weights.sum(dim=1, keepdim=True)
    # A runtime that divides whole numbers as floats may be off by one here; the rest makes up for it.
    upper = 2**11 * weights // total
    rest = 2**11 * weights - upper * total
    return upper.float(), (2**11 * rest.float() / total.float() + 0.5).floor()


def rounded(upper: Tensor, lower: Tensor) -> Tensor:
    """Sums with the upper and the lower bits of weights to the nearest whole numbers, halves up."""
    carried = ((lower + 2**21) / 2**11).floor()
    return ((upper + carried) / 2**11).floor()
