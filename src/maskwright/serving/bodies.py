"""What a client sends, read while it is counted and timed: no more is ever held than the limits say."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from maskwright.config import ServeLimits
from maskwright.serving.refusals import Refusal, body_too_large, body_too_slow

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# An image, its mask, a name, and a few that nobody asked for.
_MOST_PARTS = 8
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


async def read_form(request: Request, limits: ServeLimits) -> dict[str, Upload | str]:
    """The fields of a form, held in memory; of a field that comes twice, the last.

    Raises:
        Refusal: It is too large, too slow, or no form.
    """
    if media_type(request) != "multipart/form-data":
        raise Refusal(415, "unsupported_media_type", "This takes a form, multipart/form-data; see /openapi.json.")
    form = _Form(request.headers.get("content-type", ""))
    try:
        async for chunk in _bounded(request, limits):
            form.parser.write(chunk)
    except FormParserError as error:
        raise _malformed("its parts are not told apart") from error
    if not form.is_whole:
        raise _malformed("it is cut short")
    return form.fields


def file_of(form: Mapping[str, Upload | str], field: str) -> Upload:
    """The file in a field of a form.

    Raises:
        Refusal: There is none.
    """
    found = form.get(field)
    if not isinstance(found, Upload):
        raise Refusal(422, "missing_field", f"The form has no file in the field {field}; add one, as -F {field}=@FILE.")
    if not found.content:
        raise Refusal(422, "empty_body", f"The file in the field {field} is empty; choose another one.")
    return found


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


class _Form:
    """Fields as they come, in memory, which `_bounded` bounds: nothing is written to a disk."""

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        if not options.get(b"boundary"):
            raise _malformed("it names no boundary")
        self.fields: dict[str, Upload | str] = {}
        self.is_whole = False
        self._parts = 0
        self._header = self._value = self._disposition = b""
        self._content = bytearray()
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_content,
            "on_part_end": self._end,
            "on_end": self._end_form,
        }
        try:
            self.parser = MultipartParser(options[b"boundary"], callbacks)
        except FormParserError as error:
            raise _malformed("its boundary is odd") from error

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _malformed(f"it has more than {_MOST_PARTS} parts")
        self._disposition, self._content = b"", bytearray()

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        field, content = options.get(b"name", b"").decode("utf-8", "replace"), bytes(self._content)
        if b"filename" in options:
            name = options[b"filename"].decode("utf-8", "replace")
            self.fields[field] = Upload(content, name.replace("\\", "/").rpartition("/")[2])
        else:
            self.fields[field] = content.decode("utf-8", "replace")

    def _end_form(self) -> None:
        self.is_whole = True


def _malformed(why: str) -> Refusal:
    return Refusal(400, "malformed_form", f"The form cannot be read: {why}; send it again as multipart/form-data.")
