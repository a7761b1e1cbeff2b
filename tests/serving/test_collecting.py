import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from maskwright.commands.train import train
from maskwright.data.finding import find_dataset
from maskwright.errors import InputError
from maskwright.inference.predictor import load
from maskwright.serving.app import create_app
from maskwright.serving.collecting import plain_stem
from tests.serving.conftest import MakeClient, encoded, refusal
from tests.tiny_pictures import HEIGHT, WIDTH, a_mask, an_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "collected"


@pytest.fixture
def collecting(make_client: MakeClient, folder: Path) -> TestClient:
    return make_client(collect=folder)


def keep(client: TestClient, image: bytes, mask: bytes, file: str = "car.jpg", **fields: str) -> Any:
    return client.post("/v1/collect", files={"image": (file, image), "mask": ("mask.png", mask)}, data=fields)


def test_a_pair_is_kept_as_it_was_sent_and_the_mask_as_predict_writes_it(
    collecting: TestClient, folder: Path, jpeg: bytes
) -> None:
    answer = keep(collecting, jpeg, encoded(a_mask(1)))
    assert answer.status_code == 201
    assert answer.json() == {"image": "images/car.jpg", "mask": "masks/car.png"}
    assert (folder / "images/car.jpg").read_bytes() == jpeg
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "masks/car.png")), a_mask(1))
    assert collecting.get("/v1/model").json()["collect"] is True


@pytest.mark.parametrize(
    "drawn",
    [
        a_mask(1) // 255,
        np.repeat(a_mask(1)[..., np.newaxis], 3, axis=2),
        np.dstack([np.repeat(a_mask(1)[..., np.newaxis], 3, axis=2), np.full((HEIGHT, WIDTH), 255, np.uint8)]),
    ],
    ids=["indices", "RGB", "RGBA, as a canvas writes"],
)
def test_a_mask_may_be_stored_in_several_ways(drawn: Any, collecting: TestClient, folder: Path, jpeg: bytes) -> None:
    assert keep(collecting, jpeg, encoded(drawn)).status_code == 201
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "masks/car.png")), a_mask(1))


def test_nothing_is_overwritten(collecting: TestClient, folder: Path, jpeg: bytes) -> None:
    kept = [keep(collecting, jpeg, encoded(a_mask(seed))).json()["mask"] for seed in range(3)]
    assert kept == ["masks/car.png", "masks/car-2.png", "masks/car-3.png"]
    png = encoded(an_image(0))
    assert keep(collecting, png, encoded(a_mask(3))).json()["image"] == "images/car-4.png"
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "masks/car.png")), a_mask(0))
    (folder / "images/van.JPG").write_bytes(b"of somebody, without a mask")
    (folder / "masks/bus.png").write_bytes(b"of somebody, without a picture")
    for name in ("van", "bus"):
        found = keep(collecting, jpeg, encoded(a_mask(1)), f"{name}.jpg").json()
        assert found == {"image": f"images/{name}-2.jpg", "mask": f"masks/{name}-2.png"}
    assert (folder / "images/van.JPG").read_bytes() == b"of somebody, without a mask"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("../../../etc/cron.d/x.jpg", "x"),
        ("..\\..\\x.jpg", "x"),
        ("a b\x00c\n.jpg", "a_b_c"),
        ("/", "picture"),
        ("....", "picture"),
        ("Straße 1.jpeg", "Stra_e_1"),
        ("x" * 500, "x" * 100),
        ("", "picture"),
        ("-rf", "rf"),
    ],
)
def test_names_become_plain_and_lead_nowhere(name: str, stem: str) -> None:
    assert plain_stem(name) == stem


def test_the_suffix_says_what_the_content_is(collecting: TestClient, folder: Path, jpeg: bytes) -> None:
    kept = keep(collecting, jpeg, encoded(a_mask(1)), "evil.php").json()
    assert kept["image"] == "images/evil.jpg"
    assert keep(collecting, jpeg, encoded(a_mask(1)), "b.jpg", name="../c").json()["mask"] == "masks/c.png"
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        *("classes.json", "evil.jpg", "evil.png", "c.jpg", "c.png")
    }


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (encoded(a_mask(1)[:-1]), "unusable_mask"),
        (encoded(a_mask(1) // 2), "unusable_mask"),
        (encoded(an_image(1)), "unusable_mask"),
        (b"no mask", "not_a_picture"),
    ],
    ids=["another size", "other values", "colours", "no picture"],
)
def test_masks_that_do_not_fit_are_refused_and_nothing_is_kept(
    mask: bytes, code: str, collecting: TestClient, folder: Path, jpeg: bytes
) -> None:
    answer = keep(collecting, jpeg, mask)
    assert refusal(answer)[1] == code
    assert answer.json()["error"]["message"].startswith("The mask ")
    assert [path.name for path in folder.rglob("*")] == ["classes.json"]


def test_a_picture_without_a_mask_is_refused(collecting: TestClient, jpeg: bytes) -> None:
    assert refusal(collecting.post("/v1/collect", files={"image": jpeg})) == (422, "missing_field")
    assert refusal(collecting.post("/v1/collect", content=jpeg)) == (415, "unsupported_media_type")
    assert refusal(keep(collecting, b"no picture", encoded(a_mask(1)))) == (415, "not_a_picture")


def test_a_disk_that_refuses_is_told(collecting: TestClient, folder: Path, jpeg: bytes) -> None:
    (folder / "images").write_text("in the way")
    assert refusal(keep(collecting, jpeg, encoded(a_mask(1)))) == (507, "not_kept")
    assert list((folder / "masks").iterdir()) == []


def test_a_folder_of_another_model_is_refused(folder: Path, flock: Path, tiny_model: Path) -> None:
    create_app(load(tiny_model), collect=folder)
    create_app(load(tiny_model), collect=folder)  # the same again
    with pytest.raises(InputError, match=r"classes.json names other classes"):
        create_app(load(flock), collect=folder)


def test_train_from_the_model_takes_the_folder_as_it_is(
    collecting: TestClient, folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    for seed in range(6):
        keep(collecting, encoded(an_image(seed), "JPEG"), encoded(a_mask(seed)), f"{'abcdef'[seed]}.jpg")
    run = train(folder, start_from=tiny_model, epochs=1, out=tmp_path / "run")
    assert run.finished
    assert load(run.model_path).card.class_names == load(tiny_model).card.class_names


def test_several_classes_keep_their_names_and_so_the_models_head(
    make_client: MakeClient, folder: Path, flock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = make_client(load(flock, many_at_once=True), collect=folder)
    for seed in range(6):
        mask = a_mask(seed) // 255
        mask[:9, :9] = 255  # does not count
        if seed:
            mask[-20:, -20:] = 2
        assert keep(client, encoded(an_image(seed)), encoded(mask), f"{'abcdef'[seed]}.png").status_code == 201
    assert json.loads((folder / "classes.json").read_text()) == {"background": 0, "sheep": 1, "dog": 2}
    assert len(find_dataset(folder).pairs) == 6
    run = train(folder, start_from=flock, epochs=1, out=tmp_path / "run")
    assert load(run.model_path).card.class_names == ("background", "sheep", "dog")
    assert "afresh" not in capsys.readouterr().out
