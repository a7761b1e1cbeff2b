import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.data.input_format import PHOTOGRAPH, InputFormat, read_image
from maskwright.serving.decoder import Decoder
from maskwright.serving.refusals import Refusal
from tests.hostile_corpus import PICTURES, Case
from tests.serving.conftest import encoded
from tests.serving.slow_pictures import endless_jpeg
from tests.tiny_pictures import an_image

MOST_PIXELS = 5_000_000
# The statuses that a picture can be refused with.
REFUSALS = {413, 415, 422}


def anywhere(_: int) -> nullcontext[None]:
    return nullcontext()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoder]:
    decoder = Decoder(tmp_path_factory.mktemp("d") / "decoder", PHOTOGRAPH, most_pixels=MOST_PIXELS, seconds=60)
    yield decoder
    decoder.close()


def test_pictures_are_decoded_as_predict_reads_them(decoder: Decoder, tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
        (tmp_path / "picture").write_bytes(content := encoded(an_image(3), kind))
        with decoder.decoded(content, "picture", anywhere) as pixels:
            np.testing.assert_array_equal(pixels, read_image(tmp_path / "picture"))


def test_deep_pictures_are_scaled_as_the_model_learnt_them(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(np.array([[0, 1000], [2000, 4000]], np.uint16)).save(content, "TIFF")
    decoder = Decoder(tmp_path / "d", InputFormat(1, (0.0,), (4000.0,)), most_pixels=MOST_PIXELS, seconds=60)
    with decoder.decoded(content.getvalue(), "picture", anywhere) as pixels:
        np.testing.assert_array_equal(pixels[..., 0], [[0, 64], [128, 255]])
    decoder.close()


def test_a_mask_keeps_the_values_that_it_stores(decoder: Decoder) -> None:
    with decoder.decoded(encoded(np.array([[0, 1, 2]], np.uint8)), "mask", anywhere) as values:
        np.testing.assert_array_equal(values, [[0, 1, 2]])


def test_room_is_asked_for_before_pixels_are_taken(decoder: Decoder) -> None:
    asked: list[int] = []

    def room(pixels: int) -> nullcontext[None]:
        asked.append(pixels)
        return nullcontext()

    with decoder.decoded(encoded(an_image(3)), "picture", room) as pixels:
        assert asked == [pixels.shape[0] * pixels.shape[1]]


@pytest.mark.parametrize("name", PICTURES)
def test_hostile_pictures_are_refused_or_read_and_the_next_one_is_read(
    name: str, decoder: Decoder, tmp_path: Path
) -> None:
    case: Case = PICTURES[name]
    file = tmp_path / "file"
    case.make(file)
    if not file.is_file() or file.stat().st_size > 20e6:
        return  # it cannot be sent
    _refuses(decoder, file.read_bytes())
    with decoder.decoded(encoded(an_image(3)), "picture", anywhere) as pixels:
        np.testing.assert_array_equal(pixels, an_image(3))


def test_what_a_header_claims_is_refused_before_it_is_decoded(decoder: Decoder) -> None:
    size = (2500, 2001)
    content = io.BytesIO()
    Image.new("L", size).save(content, "PNG")
    refusal = _refuses(decoder, content.getvalue())
    assert refusal is not None
    assert (refusal.status, refusal.code) == (413, "too_many_pixels")
    assert "5 million" in refusal.message


def test_a_picture_made_to_take_for_ever_ends_its_decoder_and_no_more(tmp_path: Path) -> None:
    decoder = Decoder(tmp_path / "d", PHOTOGRAPH, most_pixels=MOST_PIXELS, seconds=1)
    refusal = _refuses(decoder, endless_jpeg())
    assert refusal is not None
    assert (refusal.status, refusal.code) == (422, "decoding_too_slow")
    with decoder.decoded(encoded(an_image(3)), "picture", anywhere) as pixels:
        np.testing.assert_array_equal(pixels, an_image(3))
    decoder.close()


@pytest.mark.parametrize("where", ["room", "pixels"])
def test_a_picture_without_memory_leaves_nothing_for_the_next_one(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(tmp_path / "d", PHOTOGRAPH, most_pixels=MOST_PIXELS, seconds=10)

    content = encoded(an_image(4))

    def run_out(*_: object) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        if where == "pixels":
            patch.setattr(np, "empty", run_out)
        room = run_out if where == "room" else anywhere
        with pytest.raises(MemoryError), decoder.decoded(content, "picture", room):
            pass
    with decoder.decoded(encoded(an_image(3)), "picture", anywhere) as pixels:
        np.testing.assert_array_equal(pixels, an_image(3))
    decoder.close()


def test_a_decoder_that_crashes_is_started_again(tmp_path: Path) -> None:
    decoder = Decoder(tmp_path / "d", PHOTOGRAPH, most_pixels=MOST_PIXELS, seconds=60)
    os.kill(decoder._process.pid, signal.SIGSEGV)
    decoder._answers.read()  # until it has ended
    refusal = _refuses(decoder, encoded(an_image(3)))
    if refusal is not None:  # its end may not have been noticed yet
        assert (refusal.status, refusal.code) == (422, "unusable_picture")
    with decoder.decoded(encoded(an_image(3)), "picture", anywhere) as pixels:
        np.testing.assert_array_equal(pixels, an_image(3))
    decoder.close()


def test_a_decoder_leaves_signals_to_its_server(decoder: Decoder) -> None:
    """A service manager sends them to every process of a service, and what was begun is to be finished."""
    process = decoder._process
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        with decoder.decoded(encoded(an_image(3)), "picture", anywhere) as pixels:
            np.testing.assert_array_equal(pixels, an_image(3))
    assert decoder._process is process


# A server that has sent a picture to its decoder, and gets no further.
SERVER = """
import sys
from pathlib import Path
from maskwright.data.input_format import PHOTOGRAPH
from maskwright.serving.decoder import Decoder
from maskwright.serving.decoding import write_line
from tests.serving.slow_pictures import endless_jpeg
decoder = Decoder(Path(sys.argv[1]), PHOTOGRAPH, most_pixels=5_000_000, seconds=1000)
content = endless_jpeg()
write_line(decoder._orders, {"kind": "picture", "bytes": len(content)})
decoder._orders.write(content)
decoder._orders.flush()
print(decoder._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux ends a process with the one that started it")
def test_a_decoder_does_not_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path / "d")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        decoder = os.pidfd_open(int(server.stdout.readline()))
        server.kill()
    try:
        ended, _, _ = select.select([decoder], [], [], 60)  # it is readable when its process has ended
        assert ended
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(decoder, signal.SIGKILL)
        os.close(decoder)


def test_nothing_that_was_sent_is_left_behind(tmp_path: Path) -> None:
    decoder = Decoder(tmp_path / "d", PHOTOGRAPH, most_pixels=MOST_PIXELS, seconds=60)
    with decoder.decoded(encoded(an_image(3)[..., 0]), "mask", anywhere):
        pass
    for content in (encoded(an_image(3)), b"no picture"):
        _refuses(decoder, content)
    assert not (tmp_path / "d/mask").exists()  # nor while it goes on
    decoder.close()
    assert list((tmp_path / "d").iterdir()) == []


def _refuses(decoder: Decoder, content: bytes) -> Refusal | None:
    """How a picture is refused, where it is."""
    refusal = None
    try:
        with decoder.decoded(content, "picture", anywhere):
            pass
    except Refusal as error:
        refusal = error
    if refusal is not None:
        assert refusal.status in REFUSALS
        assert refusal.message.startswith("The picture ")
        assert refusal.message.endswith(".")
        assert "/" not in refusal.message
    return refusal
