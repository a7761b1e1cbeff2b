"""What the API says of itself: the answers' shapes and the words and examples of its OpenAPI document."""

from importlib.metadata import version
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from maskwright.config import ServeLimits
from maskwright.data.labels import BACKGROUND, describe_raw
from maskwright.inference.outputs import class_colours
from maskwright.inference.predictor import Predictor
from maskwright.serving.orders import Output, outputs_of

DESCRIPTION = "Pictures in, masks out. Every refusal is JSON with a code for programs and one sentence for people."
OUTPUT = (
    "mask: PNG, 0 and 255, or class indices with a palette; soft: PNG of probabilities; cutout: PNG with transparency; "
    "rle: run lengths as JSON; coco: annotations as JSON. Without it, Accept decides: image/png is mask, "
    "application/json is coco."
)
THRESHOLD = "Probability from which a pixel is foreground; for models of two classes."
CLASS = "Whose soft mask it is to be, by its index; for models of more than two classes."


class ClassInfo(BaseModel):
    """A class of the model."""

    name: str
    index: int
    colour: str
    background: bool


class LimitsInfo(BaseModel):
    """What the server takes at most."""

    bytes: int
    pixels: int
    requests: int
    seconds: float


class Model(BaseModel):
    """What is served."""

    name: str
    classes: list[ClassInfo]
    binary: bool
    threshold: float | None
    engine: str
    version: str
    outputs: list[Output]
    limits: LimitsInfo
    collect: bool
    api_key: bool


class Health(BaseModel):
    """That it works."""

    status: str


class ErrorInfo(BaseModel):
    """Why a request was not served."""

    code: str
    message: str


class Error(BaseModel):
    """A refusal."""

    error: ErrorInfo


def describe_model(predictor: Predictor, name: str, limits: ServeLimits, *, collects: bool, asks_key: bool) -> Model:
    """What `GET /v1/model` answers."""
    labels = predictor.card.labels
    is_binary = labels.num_classes == 2
    colours = class_colours(labels)
    return Model(
        name=name,
        classes=[
            ClassInfo(name=word, index=index, colour=describe_raw(colours[index]), background=word == BACKGROUND)
            for index, word in enumerate(labels.class_names)
        ],
        binary=is_binary,
        threshold=predictor.card.threshold if is_binary else None,
        engine=predictor.engine_name,
        version=version("maskwright"),
        outputs=outputs_of(labels),
        limits=LimitsInfo(
            bytes=limits.body_bytes,
            pixels=limits.picture_pixels,
            requests=limits.max_requests,
            seconds=limits.request_seconds,
        ),
        collect=collects,
        api_key=asks_key,
    )


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meanings = {
        400: "The request cannot be read.",
        401: "The API key is missing or wrong.",
        403: "A page of another site asks, or another machine.",
        404: "The server keeps no pictures.",
        406: "Accept rules out all that there is.",
        408: "The request took too long to arrive.",
        413: "Too many bytes, or too many pixels.",
        415: "No picture, or of a kind that is not read.",
        422: "A parameter, the picture or the mask cannot be used.",
        503: "Busy, out of memory or stopping; try again after Retry-After.",
        504: "It was not done in time.",
        507: "The disk refuses it.",
    }
    return {status: {"model": Error, "description": meanings[status]} for status in statuses}


_BINARY = {"type": "string", "format": "binary"}
_PICTURES = ("image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp", "application/octet-stream")
_RLE_EXAMPLE = {"height": 2, "width": 3, "classes": [{"index": 1, "name": "car", "runs": "2 2 5 1"}]}
_COCO_EXAMPLE = {
    "images": [{"id": 1, "file_name": "car.jpg", "height": 2, "width": 3}],
    "categories": [{"id": 1, "name": "car"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"size": [2, 3], "counts": [2, 3, 1]},
            "area": 3,
            "bbox": [1, 0, 2, 2],
            "iscrowd": 0,
        }
    ],
}
_MODEL_EXAMPLE = {
    "name": "model.safetensors",
    "classes": [
        {"name": "background", "index": 0, "colour": "#000000", "background": True},
        {"name": "car", "index": 1, "colour": "#e69f00", "background": False},
    ],
    "binary": True,
    "threshold": 0.5,
    "engine": "PyTorch 2.14.1 on cpu",
    "version": "0.1.0",
    "outputs": ["mask", "soft", "cutout", "rle", "coco"],
    "limits": {"bytes": 20000000, "pixels": 25000000, "requests": 32, "seconds": 60},
    "collect": False,
    "api_key": False,
}


def _example(content: object) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "It is so.", "content": {"application/json": {"example": content}}}}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required}}


_IMAGE = {**_BINARY, "description": "A picture file."}
_MASK = {**_BINARY, "description": "PNG at the picture's size as shown: 0 and 255, or class indices."}

PREDICT: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "The result. Headers: X-Maskwright-Seconds, and of two classes X-Maskwright-Threshold.",
            "content": {
                "image/png": {"schema": _BINARY},
                "application/json": {
                    "schema": {"type": "object"},
                    "examples": {"coco": {"value": _COCO_EXAMPLE}, "rle": {"value": _RLE_EXAMPLE}},
                },
            },
        },
        **_refusals(400, 401, 403, 406, 408, 413, 415, 422, 503, 504),
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "description": "The content of a picture file, or a form with it in the field image.",
            "content": {
                **{kind: {"schema": _BINARY} for kind in _PICTURES},
                "multipart/form-data": _form({"image": _IMAGE}, ["image"]),
            },
        }
    },
}
MODEL: dict[str, Any] = {"responses": {**_example(_MODEL_EXAMPLE), **_refusals(401, 403)}}
COLLECT: dict[str, Any] = {
    "responses": _refusals(400, 401, 403, 404, 408, 413, 415, 422, 503, 504, 507),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": _form(
                    {"image": _IMAGE, "mask": _MASK, "name": {"type": "string"}}, ["image", "mask"]
                )
            },
        }
    },
}
HEALTH: dict[str, Any] = {"responses": {**_example({"status": "ok"}), **_refusals(403)}}
READY: dict[str, Any] = {"responses": {**_example({"status": "ok"}), **_refusals(403, 503)}}
METRICS: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."},
        **_refusals(401, 403),
    },
}
