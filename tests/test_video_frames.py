"""Frames of videos: their order, times and sizes, and what is refused."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from rtsp_server import playing
from singleshot.errors import RequestError, VideoError
from singleshot.video.capture import OPTIONS_VARIABLE
from singleshot.video.capture import _ffmpeg as open_by_ffmpeg
from singleshot.video.container import FORMATS, MOST_BOXES, missing_bytes, sniff_video
from singleshot.video.frames import VideoReader, open_video
from video_files import moving_square, write_video


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mov", ".mpg", ".flv"])
def test_every_kind_of_file_gives_its_frames_in_order(tmp_path: Path, suffix: str) -> None:
    codec = {".mpg": "mpeg2video", ".flv": "flv"}.get(suffix, "mpeg4")
    frames = moving_square(12)
    file = write_video(tmp_path / f"a{suffix}", frames, fps=25, codec=codec)
    with open_video(file) as video:
        read = list(video)
    assert video.size_wh == (64, 48)
    assert video.fps == pytest.approx(25)
    assert [frame.index for frame in read] == list(range(12))
    assert np.allclose([frame.seconds for frame in read], np.arange(12) / 25, atol=0.002)
    for frame, pixels in zip(read, frames, strict=True):
        assert np.abs(frame.pixels.astype(int) - pixels).mean() < 12
    assert video.fault is None


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = [np.full((32, 32, 3), (220, 30, 30), np.uint8)] * 3
    with open_video(write_video(tmp_path / "a.mp4", red)) as video:
        assert np.abs(next(iter(video)).pixels.astype(int) - red[0]).max() < 20


def test_times_are_those_of_the_frames(tmp_path: Path) -> None:
    times = [0, 40, 80, 400, 1000, 1040]
    file = write_video(tmp_path / "a.mkv", moving_square(6), milliseconds=times)
    with open_video(file) as video:
        assert [round(1000 * frame.seconds) for frame in video] == times
    assert video.fault is None


def test_a_sequence_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 11):
        Image.fromarray(np.full((20, 30, 3), 10 * number, np.uint8)).save(tmp_path / f"f{number}.png")
    for source in (tmp_path, tmp_path / "f%d.png"):
        with open_video(source, fps=4) as video:
            read = [(frame.seconds, int(frame.pixels[0, 0, 0])) for frame in video]
        assert read == [(0, 90), (0.25, 100), (0.5, 110)]
        assert video.claimed_frames == 3
    with pytest.raises(RequestError, match="--fps"):
        open_video(tmp_path)


def test_a_bad_image_of_a_sequence_is_a_fault_and_its_time_passes(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / f"{number:03}.png")
    (tmp_path / "001.png").write_bytes(b"no image")
    with open_video(tmp_path / "%03d.png", fps=2) as video:
        assert [frame.seconds for frame in video] == [0, 1, 1.5]
    assert "001.png" in (video.fault or "")


@pytest.mark.parametrize("end", ["moov first", "moov last"])
def test_a_cut_file_gives_the_frames_before_the_cut(tmp_path: Path, end: str) -> None:
    options = {"movflags": "faststart"} if end == "moov first" else {}
    whole = write_video(tmp_path / "whole.mp4", moving_square(40), options=options).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 7 // 10])
    if end == "moov last":
        with pytest.raises(VideoError, match="missing"):
            open_video(cut)
        return
    with open_video(cut) as video:
        read = len(list(video))
    assert 10 < read < 40
    assert f"{read} of 40 frames" in (video.fault or "")


def test_lists_of_other_files_are_not_opened(tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.mp4", moving_square(3))
    lists = {
        "a.m3u8": f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
        "b.mp4": f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n{secret}\n",
        "c.ffconcat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "d.avi": f"ffconcat version 1.0\nfile '{secret}'\n",
        "e.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "f.mpd": "<?xml version='1.0'?><MPD><BaseURL>secret.mp4</BaseURL></MPD>",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(VideoError, match="list"):
            open_video(tmp_path / name)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 8)
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, token in {"empty.mp4": "empty", "noise.mp4": "00 01", "pipe.mp4": "pipe", "none.mp4": "no such"}.items():
        with pytest.raises(VideoError, match=token):
            open_video(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """OpenCV would end the process at it, in a folder of a thousand good files, too."""
    file = write_video(tmp_path / "a.mp4", moving_square(2)).rename(tmp_path / os.fsdecode(b"\xff.mp4"))
    with pytest.raises(VideoError, match="UTF-8"):
        open_video(file)
    assert open_by_ffmpeg(str(file), "") is None


def test_addresses_need_leave(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--stream"):
        open_video("rtsp://127.0.0.1:9/a")
    with pytest.raises(RequestError, match="rtsp"):
        open_video("http://127.0.0.1:9/a.mp4", allow_network=True)


def test_the_environment_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS_VARIABLE, "protocol_whitelist;http")
    file = write_video(tmp_path / "a.mp4", moving_square(3))
    with open_video(file) as video:
        assert len(list(video)) == 3
    assert os.environ[OPTIONS_VARIABLE] == "protocol_whitelist;http"


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", moving_square(3))
    with pytest.raises(VideoError, match="max-megapixels"):
        open_video(file, max_pixels=64 * 48 - 1)


TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
"""The upper left of a display matrix, ISO 14496-12, 8.3.2."""


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_as_they_are_displayed(tmp_path: Path, degrees: int) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = 255  # the upper left is white
    data = bytearray(write_video(tmp_path / "a.mp4", [upright] * 4).read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (int(value * 65536) & 0xFFFFFFFF for value in TURNS[degrees])
    for place, value in ((0, a), (4, b), (12, c), (16, d)):
        data[matrix + place : matrix + place + 4] = value.to_bytes(4, "big")
    (tmp_path / "a.mp4").write_bytes(data)
    with open_video(tmp_path / "a.mp4") as video:
        pixels = next(iter(video)).pixels
    expected = np.rot90(upright, -degrees // 90)
    assert video.size_wh == (expected.shape[1], expected.shape[0])
    assert np.abs(pixels.astype(int) - expected).mean() < 8


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="no video"):
        open_video(tmp_path / "a.mp4")


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", moving_square(5), options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: whole.index(b"mdat") + 4])
    with pytest.raises(VideoError, match="not one frame"):
        open_video(tmp_path / "a.mp4")


def test_garbage_amid_a_video_costs_its_frames_alone(tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.mp4", moving_square(40))
    data = bytearray(file.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    file.write_bytes(data)
    with open_video(file) as video:
        read = list(video)
    assert read[-1].seconds == pytest.approx(3.9)
    assert 20 < len(read) < 40
    assert f"{len(read)} of 40 frames" in (video.fault or "")
    assert f"{40 - len(read)} before the last are damaged" in (video.fault or "")


@pytest.mark.parametrize("fps", [0, 90_000])
def test_an_impossible_frame_rate_is_said(tmp_path: Path, fps: int) -> None:
    class Source:
        size_wh, claimed_frames, missing_bytes, lost = (4, 4), None, 0, 0

        def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
            for seconds in (0, 0.1, 0.1, float("nan"), -5, 0.3):
                yield seconds, np.zeros((4, 4, 3), np.uint8)

        def close(self) -> None:
            pass

    source = Source()
    source.fps = float(fps)  # type: ignore[attr-defined]
    with VideoReader("film", source, max_pixels=100) as video:  # type: ignore[arg-type]
        times = [frame.seconds for frame in video]
    assert video.fps == 25
    assert times == pytest.approx([0, 0.1, 0.14, 0.18, 0.22, 0.3])
    assert f"{fps}" in video.remarks[0]
    assert "3 of 6 frames" in video.remarks[1]


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    for number, size in enumerate([(30, 20), (30, 20), (60, 40), (31, 20)]):
        Image.new("RGB", size, (90, 90, 90)).save(tmp_path / f"{number}.png")
    with open_video(tmp_path, fps=1) as video:
        assert {frame.pixels.shape for frame in video} == {(20, 30, 3)}
    assert "2 frames" in video.remarks[0]


def test_ffmpeg_is_held_to_the_kind_that_was_recognised(tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.ts", moving_square(3))
    playlist = tmp_path / "a.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")
    assert open_by_ffmpeg(str(playlist), "protocol_whitelist;file|allowed_extensions;ALL") is not None
    assert open_by_ffmpeg(str(playlist), f"protocol_whitelist;file|format_whitelist;{FORMATS['MP4']}") is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mpg", ".flv"])
def test_a_cut_is_said_for_every_kind(tmp_path: Path, suffix: str) -> None:
    codec = {".mpg": "mpeg2video", ".flv": "flv"}.get(suffix, "mpeg4")
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = write_video(tmp_path / f"whole{suffix}", moving_square(200), codec=codec, options=options)
    kind = sniff_video(whole.read_bytes()[:400])
    assert kind is not None
    assert missing_bytes(whole, kind) == 0
    cut = tmp_path / f"cut{suffix}"
    size = whole.stat().st_size
    for place in (size - 1, size - 30, size * 3 // 4 + 1):
        cut.write_bytes(whole.read_bytes()[:place])
        assert missing_bytes(cut, kind) > 0, place
    with open_video(cut) as video:
        assert 20 < len(list(video)) < 200
    assert "the file is cut" in (video.fault or "")


def test_a_network_stream_that_does_not_answer_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(VideoError, match="stream") as caught:
        open_video(f"rtsp://user:secret@127.0.0.1:{port}/a", allow_network=True)
    assert "secret" not in str(caught.value)


def test_a_file_is_opened_with_its_own_reader_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Matroska file whose first bytes say MP4 is not read, though FFmpeg alone would recognise it."""
    file = write_video(tmp_path / "a.mkv", moving_square(5))
    monkeypatch.setattr("singleshot.video.container.sniff_video", lambda _head: "MP4")
    with pytest.raises(VideoError, match="no video in it can be decoded"):
        open_video(file)


def test_a_network_stream_gives_its_frames(tmp_path: Path) -> None:
    frames = moving_square(40, width=320, height=240)
    file = write_video(tmp_path / "a.ts", frames, codec="mpeg2video", fps=25)
    with playing(file) as address, open_video(address, allow_network=True) as video:
        read = list(video)
    assert video.size_wh == (320, 240)
    assert len(read) >= 35
    assert np.abs(read[0].pixels.astype(int) - frames[0]).mean() < 12


def test_a_camera_is_timed_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        """Says what cameras of Linux say: no number of frames, and the time since the machine was started."""

        frames = 3

        def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
            return True

        def get(self, prop: int) -> float:
            return {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_COUNT: -1.0, cv2.CAP_PROP_POS_MSEC: 9e9}.get(prop, 0.0)

        def read(self) -> tuple[bool, np.ndarray | None]:
            self.frames -= 1
            time.sleep(0.02)
            return (True, np.zeros((4, 6, 3), np.uint8)) if self.frames >= 0 else (False, None)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda _index: Camera())
    with open_video(0) as video:
        times = [frame.seconds for frame in video]
    assert video.name == "camera 0"
    assert times[0] == 0
    assert 0.02 <= times[1] < times[2] < 5
    assert (video.claimed_frames, video.fault, video.remarks) == (None, None, [])


def test_a_camera_that_is_not_there_is_an_error() -> None:
    with pytest.raises(VideoError, match="camera 77"):
        open_video(77)


def test_opencv_4_is_kept_quiet_as_5_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 4 has `setLogLevel` in its main module, 5 in `cv2.utils.logging`; both are allowed."""
    levels: list[int] = []
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    open_video(write_video(tmp_path / "a.mp4", moving_square(2))).close()
    assert levels == [0]


def test_the_boxes_of_a_file_made_of_boxes_are_not_all_walked(tmp_path: Path) -> None:
    path = tmp_path / "boxes.mp4"
    path.write_bytes(b"\0\0\0\x08free" * (MOST_BOXES + 1) + b"\0\0\xff\xfffree")
    assert missing_bytes(path, "MP4") == 0  # the last box, which is cut, is behind those that are walked


def test_the_times_of_a_file_are_its_own(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_square(3))
    with open_video(path, fps=5) as video:
        assert [frame.seconds for frame in video] == pytest.approx([0, 0.1, 0.2])
        assert video.remarks == [f"{path} has times of its own: --fps is for sequences of images"]
