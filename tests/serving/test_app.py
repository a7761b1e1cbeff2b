import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import ExifTags, Image

from maskwright.commands.predict import predict
from maskwright.config import Architecture
from maskwright.data.labels import LabelMap
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor, load
from maskwright.serving.app import create_app
from tests.serving.conftest import HERE, Gate, MakeClient, encoded, gated, limits, refusal, send
from tests.tiny_models import write_lively_model
from tests.tiny_pictures import HEIGHT, WIDTH, an_image

pytestmark = pytest.mark.usefixtures("one_thread")


# --- What comes out


@pytest.mark.parametrize("kind", ["mask", "soft", "cutout"])
def test_pictures_are_to_the_byte_those_that_predict_writes(
    kind: str, client: TestClient, tiny_model: Path, jpeg: bytes, tmp_path: Path
) -> None:
    (tmp_path / "car.jpg").write_bytes(jpeg)
    predict(tiny_model, [tmp_path / "car.jpg"], out=tmp_path / "out", save=kind, device="cpu")
    answer = send(client, jpeg, f"?output={kind}")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == (tmp_path / f"out/car_{kind}.png").read_bytes()


def test_annotations_are_those_that_predict_writes(
    client: TestClient, tiny_model: Path, jpeg: bytes, tmp_path: Path
) -> None:
    (tmp_path / "car.jpg").write_bytes(jpeg)
    predict(tiny_model, [tmp_path / "car.jpg"], out=tmp_path / "out", save="coco,kaggle", device="cpu")
    coco = client.post("/v1/predict?output=coco", files={"image": ("a/../car.jpg", jpeg)}).json()
    assert coco == json.loads((tmp_path / "out/coco.json").read_text())
    runs = send(client, jpeg, "?output=rle").json()
    assert (runs["height"], runs["width"]) == (HEIGHT, WIDTH)
    assert f"car.jpg,{runs['classes'][0]['runs']}\n" in (tmp_path / "out/submission.csv").read_text()


def test_several_classes_get_a_palette_and_a_soft_mask_each(make_client: MakeClient, flock: Path, jpeg: bytes) -> None:
    predictor = load(flock, many_at_once=True)
    client = make_client(predictor)
    mask = Image.open(io.BytesIO(send(client, jpeg).content))
    assert mask.mode == "P"
    image = np.asarray(Image.open(io.BytesIO(jpeg)))
    np.testing.assert_array_equal(np.asarray(mask), predictor(image))
    soft = np.asarray(Image.open(io.BytesIO(send(client, jpeg, "?output=soft&class=2").content)))
    np.testing.assert_array_equal(soft, np.rint(predictor.probabilities(image)[2] * 255))
    assert refusal(send(client, jpeg, "?output=soft")) == (422, "invalid_parameter")
    assert refusal(send(client, jpeg, "?output=soft&class=0")) == (422, "invalid_parameter")
    assert refusal(send(client, jpeg, "?threshold=0.5")) == (422, "invalid_parameter")
    assert [entry["name"] for entry in send(client, jpeg, "?output=coco").json()["categories"]] == ["sheep", "dog"]


def test_a_model_without_a_background_cuts_nothing_out(
    make_client: MakeClient, predictor: Predictor, jpeg: bytes
) -> None:
    labels = LabelMap(class_names=("day", "night"))
    client = make_client(Predictor(_with_labels(predictor, labels), predictor._engine))
    assert refusal(send(client, jpeg, "?output=cutout")) == (422, "no_background")
    assert "cutout" not in client.get("/v1/model").json()["outputs"]


def test_a_turned_photograph_gets_a_mask_as_it_is_shown(client: TestClient) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    answer = send(client, encoded(an_image(1), "JPEG", exif=exif))
    assert Image.open(io.BytesIO(answer.content)).size == (HEIGHT, WIDTH)


def test_a_threshold_counts_for_its_request_alone(client: TestClient, jpeg: bytes) -> None:
    usual = send(client, jpeg)
    strict = send(client, jpeg, "?threshold=0.9")
    assert strict.headers["x-maskwright-threshold"] == "0.9"
    assert usual.headers["x-maskwright-threshold"] == "0.4"
    light = [np.asarray(Image.open(io.BytesIO(answer.content))).mean() for answer in (strict, usual)]
    assert light[0] < light[1]
    assert send(client, jpeg).content == usual.content


def test_a_threshold_counts_for_two_logits_too(make_client: MakeClient, tmp_path: Path, jpeg: bytes) -> None:
    card = ModelCard(Architecture(base_channels=8, depth=2, num_classes=2), size=48)
    client = make_client(load(write_lively_model(tmp_path / "two.safetensors", card)))
    soft = np.asarray(Image.open(io.BytesIO(send(client, jpeg, "?output=soft").content)))
    for level in (20, 230):  # which a threshold between two soft values stands for
        answer = send(client, jpeg, f"?threshold={(level - 0.5) / 255}")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))) == 255, soft >= level)
    assert (soft >= 20).mean() > (soft >= 230).mean() > 0


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("application/json", "application/json"),
        ("image/png;q=0.2, application/json", "application/json"),
        ("text/html, */*;q=0.1", "image/png"),
    ],
)
def test_accept_decides_where_no_output_is_named(accept: str, kind: str, client: TestClient, jpeg: bytes) -> None:
    assert send(client, jpeg, Accept=accept).headers["content-type"] == kind


def test_what_nobody_accepts_is_not_computed(client: TestClient, jpeg: bytes) -> None:
    assert refusal(send(client, jpeg, Accept="text/html, image/png;q=0")) == (406, "not_acceptable")


def test_the_model_is_described(client: TestClient, predictor: Predictor) -> None:
    found = client.get("/v1/model").json()
    assert found["name"] == "model.safetensors"
    assert found["classes"][0] == {"name": "background", "index": 0, "colour": "#000000", "background": True}
    assert (found["binary"], found["threshold"], found["engine"]) == (True, 0.4, predictor.engine_name)
    assert found["limits"] == {"bytes": 20_000_000, "pixels": 25_000_000, "requests": 32, "seconds": 60}
    assert (found["collect"], found["api_key"]) == (False, False)


# --- What is refused


@pytest.mark.parametrize("query", ["?output=nothing", "?threshold=0", "?threshold=nan", "?threshold=x", "?class=-1"])
def test_parameters_that_mean_nothing_are_refused_by_name(query: str, client: TestClient, jpeg: bytes) -> None:
    answer = send(client, jpeg, query)
    assert refusal(answer) == (422, "invalid_parameter")
    assert query[1:].partition("=")[0] in answer.json()["error"]["message"]


def test_strange_paths_and_methods_are_answered_in_the_same_form(client: TestClient) -> None:
    for path in ("/v2/predict", "/v1/model/", "/v1"):
        assert refusal(client.get(path)) == (404, "not_found")
    assert refusal(client.get("/v1/predict")) == (405, "method_not_allowed")
    assert refusal(client.post("/v1/collect")) == (404, "not_collecting")


def test_when_all_places_are_taken_another_picture_is_turned_away_at_once(
    make_client: MakeClient, gate: Gate, jpeg: bytes
) -> None:
    client = make_client(gated(gate), limits=limits(max_requests=1))
    with ThreadPoolExecutor() as threads:
        first = threads.submit(send, client, jpeg)
        assert gate.entered.wait(60)
        second = send(client, jpeg)  # while the gate is still closed
        assert refusal(second) == (503, "too_busy")
        assert second.headers["retry-after"] == "1"
        gate.opened.set()
        assert first.result().status_code == 200
    assert send(client, jpeg).status_code == 200


def test_a_picture_that_takes_too_long_keeps_its_place_until_it_is_done(
    make_client: MakeClient, gate: Gate, jpeg: bytes
) -> None:
    client = make_client(gated(gate), limits=limits(max_requests=1, request_seconds=0.5))
    assert refusal(send(client, jpeg)) == (504, "took_too_long")
    assert refusal(send(client, jpeg)) == (503, "too_busy")
    gate.opened.set()
    while "pictures_under_way 1.0" in client.get("/metrics").text:
        pass
    assert "pictures_under_way 0.0" in client.get("/metrics").text


def test_a_mistake_is_told_to_the_log_and_not_to_the_client(make_client: MakeClient, jpeg: bytes) -> None:
    class Broken(Gate):
        def logits(self, batch: Any) -> Any:
            raise ValueError("secret", len(batch))

    records: list[Any] = []
    client = make_client(gated(Broken()), log=records.append)
    answer = send(client, jpeg)
    assert refusal(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == records[-1]["request_id"]
    assert "secret" in records[-1]["traceback"]
    assert records[-1]["code"] == "internal_error"


def test_memory_that_runs_out_is_no_mistake(make_client: MakeClient, jpeg: bytes) -> None:
    class Full(Gate):
        def logits(self, batch: Any) -> Any:
            raise MemoryError(len(batch))

    assert refusal(send(make_client(gated(Full())), jpeg)) == (503, "out_of_memory")


# --- The page, and those who watch


def test_the_page_lies_beside_the_api_under_strict_headers(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>Masks")
    (tmp_path / "page.js").write_text("1")
    client = make_client(page=tmp_path)
    assert client.get("/").text == "<p>Masks"
    assert client.get("/page.js").headers["content-type"].startswith("text/javascript")
    assert refusal(client.get("/../test_app.py")) == (404, "not_found")
    assert refusal(client.get("/%2e%2e/%2e%2e/etc/passwd")) == (404, "not_found")
    for path in ("/", "/v1/model", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_health_is_told_and_requests_are_counted_by_route(make_client: MakeClient, jpeg: bytes) -> None:
    client = make_client()
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    send(client, jpeg)
    for word in ("a", "b", "c"):
        client.get(f"/{word}")
        client.request(word.upper(), "/healthz")
    page = client.get("/metrics").text
    assert 'maskwright_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in page
    assert 'maskwright_requests_total{method="GET",route="other",status="404"} 3.0' in page
    assert 'method="other",route="/healthz",status="405"} 3.0' in page
    assert 'maskwright_picture_seconds_count{output="mask"} 1.0' in page


def test_two_servers_count_apart(make_client: MakeClient) -> None:
    first, second = make_client(), make_client()
    first.get("/healthz")
    assert "/healthz" not in second.get("/metrics").text


def test_a_server_that_has_not_started_is_not_ready(predictor: Predictor, jpeg: bytes) -> None:
    client = TestClient(create_app(predictor, log=lambda _: None), base_url=HERE)
    assert refusal(client.get("/readyz")) == (503, "stopping")
    assert refusal(send(client, jpeg)) == (503, "stopping")
    assert client.get("/healthz").status_code == 200


def _with_labels(predictor: Predictor, labels: LabelMap) -> Any:
    return replace(predictor.card, labels=labels)
