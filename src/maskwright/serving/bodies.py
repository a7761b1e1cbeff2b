"""What a client sends, read while it is counted and timed: no more is ever held than the limits say."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from maskwright.config import ServeLimits
from maskwright.serving.refusals import Refusal, body_too_large, body_too_slow

# Parts of a form: an image, its mask, a name, and a few that nobody asked for.
_MOST_FILES, _MOST_FIELDS = 4, 8
_HOW_TO_SEND = (
    "send the file's content with Content-Type image/jpeg, image/png or application/octet-stream, or a form with it in "
    "the field image"
)


@dataclass(frozen=True)
class Upload:
    """A file that was sent.

    Attributes:
        content: Its bytes.
        name: Without folders; empty where the client gave none.
    """

    content: bytes
    name: str = ""


async def read_upload(request: Request, limits: ServeLimits) -> Upload:
    """The picture of a request, whose body is the file or a form that holds it.

    Raises:
        Refusal: It is too large, too slow, or nothing that could be a picture.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        return file_of(await read_form(request, limits), "image")
    if kind.partition("/")[0] != "image" and kind not in ("", "application/octet-stream"):
        raise Refusal(415, "unsupported_media_type", f"A picture is no {kind[:60]!a}; {_HOW_TO_SEND}.")
    body = bytearray()
    async for chunk in _bounded(request, limits):
        body += chunk
    if not body:
        raise Refusal(422, "empty_body", f"The request holds no picture; {_HOW_TO_SEND}.")
    return Upload(bytes(body))


async def read_form(request: Request, limits: ServeLimits) -> FormData:
    """The fields of a form, held in memory.

    Raises:
        Refusal: It is too large, too slow, or no form.
    """
    if media_type(request) != "multipart/form-data":
        raise Refusal(415, "unsupported_media_type", "This takes a form, multipart/form-data; see /openapi.json.")
    parser = _InMemory(request.headers, _bounded(request, limits), max_files=_MOST_FILES, max_fields=_MOST_FIELDS)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, "malformed_form", f"The form cannot be read ({error.message.rstrip('.')}).") from error


def file_of(form: FormData, field: str) -> Upload:
    """The file in a field of a form.

    Raises:
        Refusal: There is none.
    """
    found = form.get(field)
    if not isinstance(found, UploadFile):
        raise Refusal(422, "missing_field", f"The form has no file in the field {field}; add one, as -F {field}=@FILE.")
    name = (found.filename or "").replace("\\", "/").rpartition("/")[2]
    content = found.file.read()
    if not content:
        raise Refusal(422, "empty_body", f"The file in the field {field} is empty; choose another one.")
    return Upload(content, name)


def media_type(request: Request) -> str:
    """Without its parameters, in small letters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _bounded(request: Request, limits: ServeLimits) -> AsyncGenerator[bytes, None]:
    """The body as it comes; its stated length is believed where it is too much."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.body_bytes:
        raise body_too_large(limits.body_bytes)
    chunks, received = request.stream(), 0
    deadline = asyncio.get_running_loop().time() + limits.body_seconds
    while True:
        try:
            # Around each chunk and not around the whole: what is done with a chunk is not to be cancelled.
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise body_too_slow(limits.body_seconds) from error
        if chunk is None:
            return
        received += len(chunk)
        if received > limits.body_bytes:
            raise body_too_large(limits.body_bytes)
        yield chunk


class _InMemory(MultiPartParser):
    """Parts stay in memory, which `_bounded` bounds: what strangers send touches no disk before it is looked at."""

    spool_max_size = 2**62
