"""A server in this process, and what it is sent."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Architecture, ServeLimits
from maskwright.data.labels import LabelMap
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor, load
from maskwright.serving.app import create_app
from tests.tiny_models import write_lively_model
from tests.tiny_pictures import an_image

HERE = "http://127.0.0.1"
SHEEP = LabelMap("indices", ("background", "sheep", "dog"), values=((0,), (1,), (2,)))
MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def predictor(tiny_model: Path) -> Predictor:
    """Of two classes."""
    return load(tiny_model, many_at_once=True)


@pytest.fixture(scope="session")
def flock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of three classes."""
    card = ModelCard(Architecture(base_channels=8, depth=2, num_classes=3), size=48, labels=SHEEP)
    return write_lively_model(tmp_path_factory.mktemp("flock") / "flock.safetensors", card)


@pytest.fixture
def make_client(predictor: Predictor) -> Iterator[MakeClient]:
    """Starts servers that end with the test."""
    running: list[TestClient] = []

    def make(served: Predictor = predictor, **options: Any) -> TestClient:
        client = TestClient(
            create_app(served, **{"threads": 1, "log": lambda _: None, **options}),
            base_url=HERE,
            raise_server_exceptions=False,
        )
        running.append(client.__enter__())
        return client

    yield make
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(predictor: Predictor) -> Iterator[TestClient]:
    """A server with the usual limits, for all tests that leave nothing behind."""
    app = create_app(predictor, name="model.safetensors", threads=1, log=lambda _: None)
    with TestClient(app, base_url=HERE) as client:
        yield client


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A small photograph."""
    return encoded(an_image(0), "JPEG")


def encoded(pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the content of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@dataclass
class Gate:
    """An engine that computes nothing, and only when it may."""

    name: str = "a gate"
    entered: Event = field(default_factory=Event)
    opened: Event = field(default_factory=Event)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Zeros, once the gate is open."""
        self.entered.set()
        assert self.opened.wait(60)
        return np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Opened at the end, so that no server waits for ever."""
    gate = Gate()
    yield gate
    gate.opened.set()


def gated(gate: Gate) -> Predictor:
    """A predictor that waits at the gate."""
    return Predictor(ModelCard(Architecture(base_channels=8, depth=2), size=48), gate)


def limits(**changed: float) -> ServeLimits:
    """The usual ones but for some."""
    return ServeLimits(**changed)  # type: ignore[arg-type] # the number of requests is an integer


def send(client: TestClient, content: bytes, query: str = "", **headers: str) -> Any:
    """POST a picture as a body."""
    kind = {"Content-Type": "application/octet-stream"}
    return client.post(f"/v1/predict{query}", content=content, headers={**kind, **headers})


def refusal(answer: Any) -> tuple[int, str]:
    """Status and code of a refusal, whose sentence is one sentence without a path or a trace."""
    error: Mapping[str, str] = answer.json()["error"]
    assert error.keys() == {"code", "message"}
    assert error["message"].endswith(".")
    assert "\n" not in error["message"]
    return answer.status_code, error["code"]
