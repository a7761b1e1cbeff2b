"""Videos: frames in, frames out."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.data.video_files import open_video, writing_video
from maskwright.errors import InputError, MissingExtraError


def frame(number: int) -> NDArray[np.uint8]:
    """Two colours, of which one grows."""
    picture = np.full((48, 64, 3), (200, 60, 30), np.uint8)
    picture[:, : 8 * number] = (20, 90, 180)
    return picture


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    pytest.importorskip("cv2")
    with writing_video(tmp_path / "clip.mp4", 10) as write:
        for number in range(6):
            write(frame(number))
    return tmp_path / "clip.mp4"


def test_frames_come_back_in_order_and_in_their_colours(clip: Path) -> None:
    with open_video(clip) as video:
        frames = list(video.frames)
        assert (video.frames_per_second, video.length) == (10, 6)
    assert len(frames) == 6
    for number, found in enumerate(frames):
        assert found.shape == (48, 64, 3)
        assert np.abs(found.astype(int) - frame(number)).mean() < 12


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0\0\0\x18ftypmp42"])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4 is no video"), open_video(tmp_path / "a.mp4"):
        pass
    assert capfd.readouterr().err == ""  # the sentence is enough


def test_a_video_cut_short_keeps_the_frames_it_has(clip: Path) -> None:
    content = bytearray(clip.read_bytes())
    start = content.find(b"mdat")
    content[start + 600 :] = content[start + 600 :].replace(b"\0\0\1\xb6", b"\0\0\0\0")
    clip.write_bytes(content)
    with open_video(clip) as video:
        assert len(list(video.frames)) <= 6


def test_a_video_is_whole_or_not_there(tmp_path: Path) -> None:
    pytest.importorskip("cv2")

    def write_and_stop() -> None:
        with writing_video(tmp_path / "a.mp4", 10) as write:
            write(frame(0))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_and_stop()
    assert list(tmp_path.iterdir()) == []


def test_without_opencv_a_hint_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"\.\[video\]"), open_video(tmp_path / "a.mp4"):
        pass
