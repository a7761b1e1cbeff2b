"""From a folder of photographs and masks to a segmentation model that you can trust and ship.

>>> import maskwright as mw
>>> run = mw.train("photos/", minutes=20)  # doctest: +SKIP
>>> predictor = mw.load(run.model_path)    # doctest: +SKIP
>>> mask = predictor(image)                # doctest: +SKIP

Importing this takes neither torch nor numpy; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskwright.commands.check import check
    from maskwright.commands.cross_validate import cross_validate
    from maskwright.commands.evaluate import evaluate
    from maskwright.commands.export import export
    from maskwright.commands.import_weights import import_weights
    from maskwright.commands.plan import plan
    from maskwright.commands.predict import predict
    from maskwright.commands.train import train
    from maskwright.config import Settings, read_preset
    from maskwright.errors import InputError
    from maskwright.inference.predictor import Predictor, load
    from maskwright.models.encoder_unet import EncoderUNet
    from maskwright.models.unet import UNet

__all__ = [
    "EncoderUNet",
    "InputError",
    "Predictor",
    "Settings",
    "UNet",
    "check",
    "cross_validate",
    "evaluate",
    "export",
    "import_weights",
    "load",
    "plan",
    "predict",
    "read_preset",
    "train",
]

_HOMES = {
    "EncoderUNet": "models.encoder_unet",
    "InputError": "errors",
    "Predictor": "inference.predictor",
    "Settings": "config",
    "UNet": "models.unet",
    "check": "commands.check",
    "cross_validate": "commands.cross_validate",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "import_weights": "commands.import_weights",
    "load": "inference.predictor",
    "plan": "commands.plan",
    "predict": "commands.predict",
    "read_preset": "config",
    "train": "commands.train",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module 'maskwright' has no attribute {name!r}")
    return getattr(import_module(f"maskwright.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
