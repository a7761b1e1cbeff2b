"""What a network in training says of whole pictures: at once, or in the tiles that prediction sees them in."""

import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.device import ComputePrecision
from maskwright.inference.tiling import choose_tiling
from maskwright.training.step import compute_logits


def whole_pictures_at_once(settings: Settings) -> int:
    """How many pictures a validation looks at together; one by one where only cut-outs of them fit into memory."""
    return settings.chosen("batch_size") if settings.crop is None else 1


def whole_logits(
    network: nn.Module, images: Tensor, settings: Settings, precision: ComputePrecision = "fp32"
) -> Tensor:
    """Logits ``(N, num_classes, H, W)`` of pictures ``(N, C, H, W)``; in tiles where it learns from cut-outs."""
    if settings.crop is None:
        return compute_logits(network, images, precision)
    tiling = choose_tiling(settings.architecture(), settings.crop)
    columns = tiling.spans(images.shape[3])
    strips = [
        torch.cat(
            [
                compute_logits(network, images[..., row.seen, column.seen], precision)[..., row.inner, column.inner]
                for column in columns
            ],
            dim=3,
        )
        for row in tiling.spans(images.shape[2])
    ]
    return torch.cat(strips, dim=2)
