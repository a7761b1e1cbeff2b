"""The whole way from a stored picture to its mask as one network, for exports to hold all of it.

It computes what `inference.predictor` does, with tensors alone and for any size: every export is made of this, so that
what happens to a picture is written down twice in the project and not once for each format.
"""

import math

import torch
from torch import Tensor, nn

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
        self.longer_side = card.size
        self.threshold = math.log(card.threshold / (1 - card.threshold))
        self.binary = card.labels.logit_channels == 1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of pictures of one size to masks, probabilities and logits, all at that size.

        Args:
            image: ``(N, H, W, C)``, uint8. One that has been fit to the model's size already stays as it is.

        Returns:
            Classes ``(N, H, W)``, uint8; probabilities and logits ``(N, K, H, W)``, of the foreground alone where ``K``
            is 1.
        """
        height, width = image.shape[1:3]
        stored = torch.stack([torch.full((), height), torch.full((), width)])
        size = fit_size(stored, self.longer_side)
        rows, columns = self._padded(size)

        x = image.permute(0, 3, 1, 2).float()  # (N, C, H, W)
        # Stored pixels are whole numbers, also between the two directions, as in Pillow; halves are rounded up.
        x = (x @ triangle(stored[1], size[1], inputs=width, outputs=columns).T + 0.5).floor()
        x = (triangle(stored[0], size[0], inputs=height, outputs=rows) @ x + 0.5).floor()
        logits = self.network(x / 255)  # (N, K, rows, columns)
        logits = logits @ triangle(size[1], stored[1], inputs=columns, outputs=width).T
        logits = triangle(size[0], stored[0], inputs=rows, outputs=height) @ logits  # (N, K, H, W)

        if self.binary:
            return (logits[:, 0] >= self.threshold).to(torch.uint8), logits.sigmoid(), logits
        return logits.argmax(dim=1).to(torch.uint8), logits.softmax(dim=1), logits

    def _padded(self, size: Tensor) -> tuple[int, int]:
        """Sides that the network takes without padding them itself."""
        blocks = ((size + self.coarsest - 1) // self.coarsest).clamp(min=2)
        # Of no type yet: while the graph is traced, they are symbols.
        rows, columns = blocks[0].item(), blocks[1].item()
        for count in (rows, columns):
            torch._check(count >= 2)  # which torch.export cannot see by itself
        return rows * self.coarsest, columns * self.coarsest  # type: ignore[return-value]


def fit_size(stored: Tensor, longer_side: int) -> Tensor:
    """Height and width as `data.image_files.fit_size` chooses them."""
    longest = stored.max()
    return ((2 * stored * longer_side + longest) // (2 * longest)).clamp(min=1)


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
        ``(outputs, inputs)``, float32, in steps of 2**-22 as Pillow has them; each row sums to about 1.
    """
    source = torch.arange(inputs)
    target = torch.arange(outputs).clamp(max=wanted - 1).unsqueeze(1)
    # Of the centres, times 2 * stored * wanted: whole numbers, so that runtimes without float64 find the same.
    distance = ((2 * source + 1) * wanted - (2 * target + 1) * stored).abs()
    weights = (2 * torch.maximum(stored, wanted) - distance).clamp(min=0) * (source < stored)
    shares = weights.float() / weights.sum(dim=1, keepdim=True).float()
    return (shares * 2**22 + 0.5).floor() / 2**22
