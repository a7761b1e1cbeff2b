import sys
from pathlib import Path

import numpy as np
import pytest

from maskwright.inference.predictor import load
from maskwright.interop.openvino import run_whole
from maskwright.interop.parity import as_compute, compare

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_openvino_model_computes_what_the_model_does_and_says_what_it_is(
    tiny_model: Path, tiny_openvino: Path
) -> None:
    loaded = load(tiny_openvino)
    assert loaded.card == load(tiny_model).card
    assert loaded.engine_name.startswith("OpenVINO 20")
    noise = np.random.default_rng(0)
    pictures = [(str(size), noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((1, 1), (100, 37))]
    found = compare(load(tiny_model), {"alone": run_whole(tiny_openvino), "through us": as_compute(loaded)}, pictures)
    assert all(agreement.holds for agreement in found), [agreement.sentence for agreement in found]


def test_nobody_is_told_that_it_is_used(tiny_openvino: Path) -> None:
    load(tiny_openvino)
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert "openvino_telemetry" not in sys.modules
