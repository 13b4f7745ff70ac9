"""`ssd detect` of videos: JSON, JSON Lines, CSV, copies, contact sheets, and runs that end early."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from singleshot.cli.video_progress import VideoProgress, progress_line
from singleshot.commands import detect as detect_module
from singleshot.commands.detect import DetectOptions, Listeners, detect_files
from singleshot.commands.detect_video import DetectedVideo
from singleshot.commands.sources import find_sources
from singleshot.decode import decode_image
from singleshot.errors import MachineError, RequestError
from singleshot.runtime.detector import Detector
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.video.contact_sheet import ContactSheet
from singleshot.video.frames import Frame
from video_files import moving_square, write_video


class WhiteSquare:
    """A backend that finds a car around the white pixels, and a boat in the corner, hardly."""

    spec: ModelSpec = SSDLITE320_MOBILENETV2

    def __init__(self, *, with_workers: bool = True) -> None:
        self.with_workers = with_workers

    def workers(self) -> list[object]:
        return [self._detect, self._detect] if self.with_workers else []  # type: ignore[list-item]

    def _detect(self, image: np.ndarray, **_: object) -> RawDetections:
        columns = np.flatnonzero((image[8:20] > 200).all(axis=2).sum(axis=0) > 6)
        square = [columns.min() / image.shape[1], 8 / 48, (columns.max() + 1) / image.shape[1], 20 / 48]
        boxes = np.array([square, [0, 0, 0.1, 0.1]], np.float32)
        return RawDetections(boxes, np.array([0.9, 0.2], np.float32), np.array([6, 3]))

    def __call__(self, images: Sequence[np.ndarray], **_: object) -> list[RawDetections]:
        return [self._detect(image) for image in images]


@pytest.fixture(params=[True, False], ids=["workers", "batches"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return Detector(WhiteSquare(with_workers=request.param), name="white square")  # type: ignore[arg-type]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write_video(tmp_path / "in/film.mp4", moving_square(23))


def test_each_frame_has_its_own_detections_in_order(detector: Detector, film: Path, tmp_path: Path) -> None:
    options = DetectOptions(json=tmp_path / "a.json", csv=tmp_path / "a.csv")
    result = detect_files([film], options, detector=detector)
    content = json.loads((tmp_path / "a.json").read_text())
    assert list(content) == ["model", "images", "videos"]
    (video,) = content["videos"]
    assert {key: video[key] for key in ("file", "width", "height", "fps")} == {
        "file": str(film), "width": 64, "height": 48, "fps": 10.0,
    }  # fmt: skip
    assert [(frame["index"], frame["seconds"]) for frame in video["frames"]] == [(i, i / 10) for i in range(23)]
    for index, frame in enumerate(video["frames"]):
        (found,) = frame["detections"]
        assert found["label"] == "car"
        assert found["box"][0] == pytest.approx(2 * index % 52, abs=2.1)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [(row["file"], row["frame"], row["label"]) for row in rows[:2]] == [
        (str(film), "0", "car"), (str(film), "1", "car"),
    ]  # fmt: skip
    assert len(rows) == 23
    assert result.videos[0].summary == "23 frames, 2.2 s: car in 23 frames"


def test_json_lines_hold_images_and_frames(detector: Detector, film: Path, tmp_path: Path) -> None:
    Image.fromarray(moving_square(1)[0]).save(tmp_path / "in/a.png")
    detect_files([film.parent], DetectOptions(json=tmp_path / "a.jsonl"), detector=detector)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    assert "index" not in lines[0]
    assert (lines[5]["file"], lines[5]["index"], lines[5]["width"]) == (str(film), 4, 64)


def test_without_videos_the_json_is_that_of_images(detector: Detector, tmp_path: Path) -> None:
    Image.fromarray(moving_square(1)[0]).save(tmp_path / "a.png")
    result = detect_files([tmp_path / "a.png"], DetectOptions(json=tmp_path / "a.json"), detector=detector)
    content = {"model": "white square", "images": [result.images[0].to_dict()]}
    assert (tmp_path / "a.json").read_text() == json.dumps(content, indent=1) + "\n"


def test_the_copy_is_a_vp9_with_the_times_of_the_source(detector: Detector, tmp_path: Path) -> None:
    times = [0, 40, 80, 500, 900, 1300, 1310]
    source = write_video(tmp_path / "vfr.mkv", moving_square(7, width=66, height=50), milliseconds=times)
    result = detect_files([source], DetectOptions(out=tmp_path / "out"), detector=detector)
    (copy,) = result.copies
    assert copy == tmp_path / "out/vfr.webm"
    with av.open(str(copy)) as container:
        assert container.streams.video[0].codec_context.name == "vp9"
        frames = [(round(1000 * frame.time), frame.width, frame.height) for frame in container.decode(video=0)]
    assert frames == [(time, 66, 50) for time in times]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["vfr.webm"]


def test_a_copy_replaces_an_earlier_copy_and_nothing_else(detector: Detector, film: Path, tmp_path: Path) -> None:
    options = DetectOptions(out=tmp_path / "out")
    for _ in range(2):
        assert detect_files([film], options, detector=detector).copies == [tmp_path / "out/film.webm"]
    (tmp_path / "out/film.webm").write_bytes(b"\x1a\x45\xdf\xa3 of somebody else")
    assert detect_files([film], options, detector=detector).copies == [tmp_path / "out/film-2.webm"]
    with pytest.raises(RequestError, match=r"film\.mp4"):
        detect_files([film], DetectOptions(out=film.parent), detector=detector)


def test_without_the_extra_the_copy_is_frames(
    detector: Detector, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect_module, "can_write_webm", lambda: False)
    said: list[str] = []
    listeners = Listeners(say=said.append)
    detect_files([film], DetectOptions(out=tmp_path / "out"), detector=detector, listeners=listeners)
    assert "singleshot[video]" in said[0]
    names = sorted(path.name for path in (tmp_path / "out/film").iterdir())
    assert names == [f"{index:06}.jpg" for index in range(23)]


def test_a_cut_video_is_kept_as_far_as_it_goes_and_named(detector: Detector, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", moving_square(40), options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    write_video(tmp_path / "b.mp4", moving_square(5))
    (tmp_path / "c.mp4").write_bytes(b"#EXTM3U\n")
    options = DetectOptions(json=tmp_path / "out.json")
    result = detect_files([tmp_path], options, detector=detector)
    frames = [len(video["frames"]) for video in json.loads((tmp_path / "out.json").read_text())["videos"]]
    assert 10 < frames[0] < 40
    assert frames[1:] == [5]
    assert (len(result.failed), result.files, result.done) == (2, 3, 3)
    assert f"a.mp4: {frames[0]} of 40 frames" in result.failed[0]
    assert "c.mp4" in result.failed[1]


def test_ctrl_c_keeps_what_was_done(detector: Detector, film: Path, tmp_path: Path) -> None:
    def stop(video: DetectedVideo) -> None:
        if video.frames == 7:
            raise KeyboardInterrupt

    options = DetectOptions(json=tmp_path / "a.json", out=tmp_path / "out", contact_sheet=tmp_path / "s.jpg")
    other = write_video(tmp_path / "other.mkv", moving_square(3))
    result = detect_files([film], options, detector=detector, listeners=Listeners(on_frame=stop))
    assert result.interrupted
    assert [len(video["frames"]) for video in json.loads((tmp_path / "a.json").read_text())["videos"]] == [7]
    with av.open(str(tmp_path / "out/film.webm")) as container:
        assert len(list(container.decode(video=0))) == 7
    assert decode_image(tmp_path / "s.jpg").shape[1] > 400
    options = DetectOptions(json=tmp_path / "b.json")
    detect_files([film, other], options, detector=detector, listeners=Listeners(on_frame=stop))
    assert len(json.loads((tmp_path / "b.json").read_text())["videos"]) == 1


def test_an_error_leaves_no_half_files(detector: Detector, film: Path, tmp_path: Path) -> None:
    def fail(_video: DetectedVideo) -> None:
        raise MachineError("no memory")

    options = DetectOptions(json=tmp_path / "a.json", out=tmp_path / "out")
    with pytest.raises(MachineError):
        detect_files([film], options, detector=detector, listeners=Listeners(on_frame=fail))
    assert [path.name for path in tmp_path.iterdir() if path.name != "in"] == ["out"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_named(detector: Detector, film: Path) -> None:
    with pytest.raises(MachineError, match="/dev/full"):
        detect_files([film], DetectOptions(json=Path("/dev/full")), detector=detector)


def test_sources_are_told_apart(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", moving_square(2)).rename(tmp_path / "no-ending")
    for name in ("a.jpg", "sub/b.MP4", "code.ts", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 500)
    found = find_sources([tmp_path, tmp_path / "no-ending", "0", tmp_path / "sub/*.MP4"])
    assert found.images == [tmp_path / "a.jpg"]
    assert found.videos == [tmp_path / "sub/b.MP4", tmp_path / "no-ending", 0]
    pattern = tmp_path / "f_%03d.png"
    assert find_sources([tmp_path, pattern], sequences=True).videos == [tmp_path, pattern]
    with pytest.raises(RequestError, match="--fps"):
        find_sources([pattern])
    assert find_sources(["rtsp://a/b"], stream=True).videos == ["rtsp://a/b"]
    for address, token in {"rtsp://a/b": "--stream", "http://a/b.mp4": "not fetched"}.items():
        with pytest.raises(RequestError, match=token):
            find_sources([address])


@pytest.mark.parametrize("count", [1, 2, 12, 13, 24, 25, 100, 1000])
def test_a_contact_sheet_shows_the_best_of_each_part_in_bounded_memory(count: int) -> None:
    generator, sheet = np.random.default_rng(count), ContactSheet()
    interests = generator.permutation(count)
    for index, interest in enumerate(interests):
        if sheet.wants(index, interest):
            pixels = np.full((9, 16, 3), 20 + 200 * interest / count, np.uint8)
            sheet.add(Frame(index, index / 10, pixels), interest, pixels)
        assert len(sheet._kept) <= 24
    rows, columns = -(-min(count, 12) // 3), min(count, 3)
    image = sheet.image()
    assert image.shape == (rows * (225 + 8) + 8, columns * (400 + 8) + 8, 3)
    assert int(image[:, :, 0].max()) >= 20 + 200 * (count - 1) // count  # the best of all is on it
    if count <= 12:
        shades = [int(image[20 + 233 * (place // 3), 20 + 408 * (place % 3), 0]) for place in range(count)]
        assert shades == [int(20 + 200 * interest / count) for interest in interests]


@pytest.mark.parametrize(
    ("options", "token"),
    [
        ({"contact_sheet": Path("a.png")}, "JPEG"),
        ({"json": Path("x"), "csv": Path("x")}, "twice"),
        ({"fps": 0.0}, "--fps"),
    ],
)
def test_impossible_requests_are_refused_before_any_work(
    detector: Detector, film: Path, options: dict[str, object], token: str
) -> None:
    with pytest.raises(RequestError, match=token):
        detect_files([film], DetectOptions(**options), detector=detector)  # type: ignore[arg-type]


def test_progress_says_speed_and_what_is_left() -> None:
    video = DetectedVideo("a.mp4", (64, 48), 10.0, 3770, frames=1200)
    assert progress_line(video, 8.0) == "a.mp4: 1,200 of 3,770 frames, 150 a second, 0:17 left"
    video.claimed_frames = None
    assert progress_line(video, 8.0) == "a.mp4: 1,200 frames, 150 a second"


def test_the_command(film: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "singleshot", "detect", str(film), "--json", str(tmp_path / "a.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{film}: 23 frames, 2.2 s: ")


def test_progress_on_a_terminal_is_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    now = iter([0.0, 0.4, 0.6, 1.3])
    monkeypatch.setattr("singleshot.cli.video_progress.time.monotonic", lambda: next(now))
    video = DetectedVideo("a\x1b[31m.mp4", (64, 48), 10.0, 100)
    progress = VideoProgress(terminal)
    for video.frames in (1, 4, 6, 13):
        progress(video)
    progress.close()
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    lines = [
        "a\\x1b[31m.mp4: 6 of 100 frames, 10 a second, 0:09 left",
        "a\\x1b[31m.mp4: 13 of 100 frames, 10 a second, 0:09 left",
    ]
    assert shown == "".join(f"\r{line}\x1b[K" for line in [*lines, ""])
