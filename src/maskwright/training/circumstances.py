"""What the figures of a run are judged by, from its pictures, its settings and its machine."""

import os

from maskwright.config import Settings
from maskwright.data.dataset import Samples
from maskwright.training.baseline import chance_dice
from maskwright.training.health import Circumstances
from maskwright.training.material import Material


def circumstances_of(
    material: Material, settings: Settings, device: str, workers: int, *, is_tuned: bool = False
) -> Circumstances:
    """What the figures of this run are judged by."""
    cache = material.cache
    labels = material.formats.labels
    # Decoding pictures again would take seconds.
    train, val = ([index for index in material.indices(part) if cache.entries[index].path] for part in ("train", "val"))
    plain = Samples(cache, settings, augment=False)
    known = {}
    if train and val:
        known["chance_dice"] = chance_dice(plain, train, val, labels.scored_classes, seed=settings.seed)
    return Circumstances(
        loss_terms=tuple(settings.loss_terms()),
        learning_rate=settings.learning_rate,
        warmup=settings.warmup,
        class_names=labels.class_names,
        workers=workers,
        cores=os.cpu_count() or 1,
        uncached=cache.uncached,
        device=device,
        is_tuned=is_tuned,
        **known,
    )
