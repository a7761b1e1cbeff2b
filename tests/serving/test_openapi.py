"""The API keeps to what its own OpenAPI document says, whatever it is sent."""

from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.conftest import MakeClient, encoded
from tests.tiny_pictures import an_image

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURES = [encoded(an_image(seed), kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
KINDS = ("image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp", "application/octet-stream")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = ["POST /v1/predict", "POST /v1/collect", "GET /v1/model", "GET /healthz", "GET /readyz", "GET /metrics"]


@pytest.fixture(scope="module", autouse=True)
def bodies() -> None:
    """Pictures, and what is none."""
    for kind in KINDS:
        schemathesis.openapi.media_type(kind, st.sampled_from(PICTURES) | st.binary(max_size=200))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_makes_a_mistake_of_the_server(operation: str, make_client: MakeClient, tmp_path: Any) -> None:
    client = make_client(collect=tmp_path / "collected")

    async def running(scope: Any, receive: Any, send: Any) -> None:
        """The server that has been started already."""
        assert scope["type"] == "http"
        others = [header for header in scope["headers"] if header[0] != b"host"]
        await client.app({**scope, "headers": [*others, (b"host", b"localhost")]}, receive, send)

    schema = schemathesis.openapi.from_asgi("/openapi.json", running)
    method, path = operation.split()
    asked = set()

    @settings(
        max_examples=30,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def ask(case: Any) -> None:
        asked.add(case.call_and_validate(checks=CHECKS).status_code)

    ask()
    assert asked - {422, 415} or operation == "POST /v1/collect"  # some requests were good


def test_every_path_is_looked_at(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} == {*OPERATIONS}
