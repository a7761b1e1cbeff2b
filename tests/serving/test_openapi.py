"""The API keeps to what its own OpenAPI document says, whatever it is sent."""

from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving.conftest import encoded
from tests.tiny_pictures import an_image

PICTURES = [encoded(an_image(seed), kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
for media_type in ("image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, st.sampled_from(PICTURES) | st.binary(max_size=200))


@pytest.fixture(scope="session")
def schema(client: TestClient) -> Any:
    return schemathesis.openapi.from_dict(client.get("/openapi.json").json())


@pytest.mark.parametrize(
    "operation", ["POST /v1/predict", "POST /v1/collect", "GET /v1/model", "GET /healthz", "GET /readyz", "GET /metrics"]
)
def test_no_request_makes_a_mistake_of_the_server(operation: str, schema: Any, client: TestClient) -> None:
    method, path = operation.split()
    cases = schema[path][method].as_strategy()
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

    @settings(
        max_examples=40,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @schemathesis.hypothesis_given(cases) if hasattr(schemathesis, "hypothesis_given") else _given(cases)
    def run(case: Any) -> None:
        case.call_and_validate(session=client, base_url="http://127.0.0.1", checks=checks)

    run()


def test_every_operation_is_described_with_an_example(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/predict", "/v1/model", "/v1/collect", "/healthz", "/readyz", "/metrics"}
