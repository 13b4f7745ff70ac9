"""WebM files: what is in them, what becomes of errors, and that a browser plays them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from singleshot.errors import MachineError, RequestError
from singleshot.video import webm
from singleshot.video.webm import WebmWriter
from video_files import moving_square

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def write(path: Path, frames: Iterable[np.ndarray]) -> None:
    with WebmWriter(path, (64, 48)) as writer:
        for index, frame in enumerate(frames):
            writer.write(index / 10, frame)


def test_the_pixels_are_those_that_were_written(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), colour, np.uint8) for colour in [(200, 40, 40), (40, 200, 40), (40, 40, 200)]]
    with WebmWriter(tmp_path / "a.webm", (64, 48), comment="of a test") as writer:
        for index, frame in enumerate(frames):
            writer.write(index, frame)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.metadata["COMMENT"] == "of a test"
        assert container.duration == pytest.approx(3e6)  # the last frame, too, is shown for a second
        for frame, decoded in zip(frames, container.decode(video=0), strict=True):
            assert np.abs(decoded.to_ndarray(format="rgb24").astype(int) - frame).mean() < 6


@pytest.mark.parametrize("fps", [12.5, 30000 / 1001, 1000.0, 0.0001])
def test_other_programs_read_the_frame_rate_that_was_given(tmp_path: Path, fps: float) -> None:
    with WebmWriter(tmp_path / "a.webm", (64, 48), fps=fps) as writer:
        for index, frame in enumerate(moving_square(5)):
            writer.write(index / 10, frame)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(max(fps, 1 / 1001), rel=1e-4)
        assert [round(10 * frame.time) for frame in container.decode(video=0)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("width", "height"), [(65, 48), (64, 47), (1, 1), (3, 2)])
def test_odd_sides_get_one_more_pixel(tmp_path: Path, width: int, height: int) -> None:
    frame = np.full((height, width, 3), 128, np.uint8)
    frame[:, -1] = 255
    with WebmWriter(tmp_path / "a.webm", (width, height)) as writer:
        writer.write(0, frame)
    with av.open(str(tmp_path / "a.webm")) as container:
        (decoded,) = container.decode(video=0)
        assert (decoded.width, decoded.height) == (width + width % 2, height + height % 2)
        assert decoded.to_ndarray(format="gray")[0, -1] > 190


def test_equal_and_falling_times_are_parted_by_a_millisecond(tmp_path: Path) -> None:
    with WebmWriter(tmp_path / "a.webm", (64, 48)) as writer:
        for seconds, frame in zip((0, 0.1, 0.1, 0.05, 0.3), moving_square(5), strict=True):
            writer.write(seconds, frame)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert [round(1000 * frame.time) for frame in container.decode(video=0)] == [0, 100, 101, 102, 300]


def test_an_error_leaves_the_earlier_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.webm").write_bytes(b"earlier")
    frames = [moving_square(1)[0], np.zeros((48, 63, 3), np.uint8)]
    with pytest.raises(ValueError, match="48, 64"):
        write(tmp_path / "a.webm", frames)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.webm": b"earlier"}


def test_ctrl_c_finishes_the_file(tmp_path: Path) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield from moving_square(9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.webm", interrupted())
    with av.open(str(tmp_path / "a.webm")) as container:
        assert len(list(container.decode(video=0))) == 9


def test_a_full_disk_is_named_and_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WebmWriter, "_encode", full)
    with pytest.raises(MachineError, match=r"a\.webm"):
        write(tmp_path / "a.webm", moving_square(3 * webm.WAITING))
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webm, "find_spec", lambda _name: None)
    with pytest.raises(RequestError, match=r"singleshot\[video\]"):
        WebmWriter(tmp_path / "a.webm", (64, 48))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_plays_it(tmp_path: Path) -> None:
    with WebmWriter(tmp_path / "a.webm", (66, 49)) as writer:
        for index, frame in enumerate(moving_square(10, width=66, height=49)):
            writer.write(index / 10, frame)
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        page.goto((tmp_path / "a.webm").as_uri())
        played = page.evaluate(
            """async () => {
                const video = document.querySelector("video");
                video.muted = true;
                await video.play();
                if (!video.ended) await new Promise(resolve => video.onended = resolve);
                return [video.duration, video.videoWidth, video.videoHeight, video.error];
            }"""
        )
        browser.close()
    assert played == [1, 66, 50, None]
