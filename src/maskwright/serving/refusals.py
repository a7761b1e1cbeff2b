"""What a request is answered with when it is not served: a status, a word for programs, and one sentence."""

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - an answer like any other
    """A request that is not served.

    Attributes:
        status: Of HTTP.
        code: A word that programs can rely on.
        message: One sentence for a person, which says what to do.
        headers: That the answer carries beside the usual ones.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def content(self) -> dict[str, dict[str, str]]:
        """The answer, to be written as JSON."""
        return {"error": {"code": self.code, "message": self.message}}


def too_busy() -> Refusal:
    """There is no place for another picture just now."""
    message = "This server is busy with as many pictures as it takes; try again in a moment."
    return Refusal(503, "too_busy", message, {"Retry-After": "1"})


def out_of_memory() -> Refusal:
    """The picture needs more memory than there is just now."""
    message = "There is not enough memory for this picture; try again later, or send a smaller one."
    return Refusal(503, "out_of_memory", message, {"Retry-After": "10"})


def body_too_large(most: int) -> Refusal:
    """More was sent than is taken."""
    message = f"The request is larger than the {most / 1e6:g} MB that this server takes; send a smaller picture."
    return Refusal(413, "body_too_large", message)


def too_many_pixels(most: int) -> Refusal:
    """The header of a picture says a size that is not decoded."""
    message = f"The picture has more than the {most / 1e6:g} million pixels that this server takes; make it smaller."
    return Refusal(413, "too_many_pixels", message)


def body_too_slow(seconds: float) -> Refusal:
    """A client that takes its time."""
    message = f"The request took longer than {seconds:g} s to arrive; send it faster, or send a smaller picture."
    return Refusal(408, "body_too_slow", message)


def decoding_too_slow(seconds: float) -> Refusal:
    """A picture that was made to take long, or that is very large."""
    message = f"The picture took longer than {seconds:g} s to decode; save it again as a plain JPEG or PNG file."
    return Refusal(422, "decoding_too_slow", message)


def took_too_long(seconds: float) -> Refusal:
    """A picture that waited, or was computed, for too long."""
    message = f"The picture was not done within {seconds:g} s; try again when this server has less to do."
    return Refusal(504, "took_too_long", message)
