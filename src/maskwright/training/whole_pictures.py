"""What a network in training says of whole pictures: at once, or in the tiles that prediction sees them in."""

import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.inference.tiling import choose_tiling


def whole_logits(network: nn.Module, images: Tensor, settings: Settings) -> Tensor:
    """Logits ``(N, num_classes, H, W)`` of pictures ``(N, C, H, W)``; in tiles where it learns from cut-outs."""
    if settings.crop is None:
        logits: Tensor = network(images)
        return logits
    tiling = choose_tiling(settings.architecture(), settings.crop)
    columns = tiling.spans(images.shape[3])
    strips = [
        torch.cat(
            [network(images[..., row.seen, column.seen])[..., row.inner, column.inner] for column in columns], dim=3
        )
        for row in tiling.spans(images.shape[2])
    ]
    return torch.cat(strips, dim=2)
