"""`ssd track`: files, counts, copies, and runs that end early. The video has a square that moves 2 pixels a frame."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from singleshot.cli.main import run
from singleshot.commands import track as track_module
from singleshot.commands.detect import DetectOptions
from singleshot.commands.track import TrackedVideo, TrackOptions, track_video
from singleshot.errors import RequestError, SingleshotError, UnknownNameError, VideoError
from singleshot.evaluate.track_file import read_track_boxes
from singleshot.runtime.detector import Detector
from singleshot.ssd.detection import RawDetections
from singleshot.tracking.byte_track import Tracker
from test_detect_video import WhiteSquare
from video_files import moving_square, write_video

FRAMES = 23


@pytest.fixture
def detector() -> Detector:
    return Detector(WhiteSquare(), name="white square")  # type: ignore[arg-type]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write_video(tmp_path / "in/film.mp4", moving_square(FRAMES))


def test_all_files_have_the_same_tracks(detector: Detector, film: Path, tmp_path: Path) -> None:
    options = TrackOptions(json=tmp_path / "a.json", csv=tmp_path / "a.csv", mot=tmp_path / "a.txt")
    tracked = track_video(film, options, detector=detector)
    content = json.loads((tmp_path / "a.json").read_text())
    assert list(content) == ["model", "file", "width", "height", "fps", "frames", "counts", "lines", "zones"]
    assert (content["width"], content["height"], content["fps"], content["counts"]) == (64, 48, 10.0, {"car": 1})
    assert [(frame["index"], frame["seconds"]) for frame in content["frames"]] == [(i, i / 10) for i in range(FRAMES)]
    assert [len(frame["tracks"]) for frame in content["frames"]] == [0] + [1] * (FRAMES - 1)
    boxes = [track["box"] for frame in content["frames"] for track in frame["tracks"]]
    assert {track["id"] for frame in content["frames"] for track in frame["tracks"]} == {1}
    assert boxes[4][0] == pytest.approx(10, abs=2.1)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [[float(row[name]) for name in ("left", "top", "right", "bottom")] for row in rows] == boxes
    assert (rows[0]["file"], rows[0]["frame"], rows[0]["id"], rows[0]["label"]) == (str(film), "1", "1", "car")
    mot = read_track_boxes(tmp_path / "a.txt")
    assert mot.frames.tolist() == list(range(2, FRAMES + 1))
    np.testing.assert_allclose(mot.boxes_xyxy, boxes, atol=0.011)
    assert tracked.summary() == [f"{film}: {FRAMES} frames, 2.2 s: 1 x car"]


def test_json_lines_end_with_the_counts(detector: Detector, film: Path, tmp_path: Path) -> None:
    track_video(film, TrackOptions(json=tmp_path / "a.jsonl"), detector=detector)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(lines) == FRAMES + 1
    assert lines[1]["tracks"][0]["id"] == 1
    assert lines[-1] == {"file": str(film), "width": 64, "height": 48, "counts": {"car": 1}, "lines": [], "zones": []}


def test_lines_and_zones(detector: Detector, film: Path, tmp_path: Path) -> None:
    """The square's foot moves from x = 6 to x = 50 at y = 20."""
    options = TrackOptions(
        json=tmp_path / "a.json", line=("30,0,30,40", "0,30,60,30"), zone=("20,10,40,10,40,30,20,30",)
    )
    tracked = track_video(film, options, detector=detector)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["lines"][0] == {"line": [30, 0, 30, 40], "right": {}, "left": {"car": 1}}
    assert (content["lines"][1]["right"], content["lines"][1]["left"]) == ({}, {})
    (zone,) = content["zones"]
    assert (zone["now"], zone["entered"]) == ({}, {"car": 1})
    assert zone["seconds"]["car"] == pytest.approx(0.9, abs=0.11)
    assert tracked.summary()[1] == "line 30,0,30,40: right 0; left 1 x car"


def test_a_copy_that_plays_with_the_times_of_the_video(detector: Detector, tmp_path: Path) -> None:
    times = [0, 50, 200, 220, 500]
    film = write_video(tmp_path / "film.mp4", moving_square(5), milliseconds=times)
    options = TrackOptions(out=tmp_path / "out", line=("30,0,30,40",), zone=("20,10,40,10,40,30,20,30",))
    tracked = track_video(film, options, detector=detector)
    assert tracked.copy == tmp_path / "out" / "film.webm"
    with av.open(str(tracked.copy)) as container:
        frames = [(round(1000 * frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [milliseconds for milliseconds, _ in frames] == times
    before = moving_square(5)[4].astype(int)
    assert (np.abs(frames[4][1].astype(int) - before).max(axis=2) > 60).mean() > 0.05  # something is drawn


@pytest.mark.parametrize("options", [TrackOptions, DetectOptions])
def test_frames_without_a_folder_are_refused(options: type[TrackOptions | DetectOptions]) -> None:
    with pytest.raises(RequestError, match="--out"):
        options(frames=True)


def test_a_second_copy_replaces_the_first(detector: Detector, film: Path, tmp_path: Path) -> None:
    track_video(film, TrackOptions(out=tmp_path / "out", frames=True), detector=detector)
    for _ in range(2):
        track_video(film, TrackOptions(out=tmp_path / "out"), detector=detector)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film", "film.webm"]
    assert len(list((tmp_path / "out/film").iterdir())) == FRAMES


def test_classes(detector: Detector, film: Path, tmp_path: Path) -> None:
    assert not track_video(film, TrackOptions(classes="boat, bus"), detector=detector).classes.counts
    assert track_video(film, TrackOptions(classes="car"), detector=detector).classes.counts == {"car": 1}
    with pytest.raises(UnknownNameError, match="ca"):
        track_video(film, TrackOptions(classes="ca"), detector=detector)
    with pytest.raises(RequestError, match="--classes"):
        track_video(film, TrackOptions(classes=" ,"), detector=detector)


def test_frames_without_detections(detector: Detector, film: Path, tmp_path: Path) -> None:
    tracked = track_video(film, TrackOptions(score=1, json=tmp_path / "a.json"), detector=detector)
    assert json.loads((tmp_path / "a.json").read_text())["counts"] == {}
    assert tracked.summary()[0].endswith("nothing")


def test_detections_without_area_are_counted(film: Path) -> None:
    class WithoutArea(WhiteSquare):
        def _detect(self, image: np.ndarray, **options: object) -> RawDetections:
            raw = super()._detect(image, **options)
            return replace(raw, boxes_xyxy=raw.boxes_xyxy * np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.float32))

    said: list[str] = []
    detector = Detector(WithoutArea(), name="white square")  # type: ignore[arg-type]
    tracked = track_video(film, detector=detector, say=said.append)
    assert (tracked.unusable, tracked.classes.counts) == (FRAMES, {"car": 1})
    assert f": {FRAMES}" in said[-1]


def test_ctrl_c_leaves_whole_files(detector: Detector, film: Path, tmp_path: Path) -> None:
    def stop(video: TrackedVideo) -> None:
        if video.frames == 7:
            raise KeyboardInterrupt

    options = TrackOptions(json=tmp_path / "a.json", mot=tmp_path / "a.txt", out=tmp_path / "out")
    tracked = track_video(film, options, detector=detector, on_frame=stop)
    assert tracked.interrupted
    assert len(json.loads((tmp_path / "a.json").read_text())["frames"]) == 7
    assert len(read_track_boxes(tmp_path / "a.txt")) == 6
    with av.open(str(tmp_path / "out/film.webm")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7


def test_another_error_leaves_nothing(detector: Detector, film: Path, tmp_path: Path) -> None:
    def fail(_video: TrackedVideo) -> None:
        raise ArithmeticError

    options = TrackOptions(json=tmp_path / "a.json", mot=tmp_path / "a.txt", out=tmp_path / "out")
    with pytest.raises(ArithmeticError):
        track_video(film, options, detector=detector, on_frame=fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [film]


def test_a_cut_video_ends_with_what_was_decoded(tmp_path: Path, detector: Detector) -> None:
    film = write_video(tmp_path / "film.mkv", moving_square(40))
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    tracked = track_video(film, TrackOptions(json=tmp_path / "a.json"), detector=detector)
    assert tracked.fault is not None
    assert 0 < tracked.frames < 40
    assert len(json.loads((tmp_path / "a.json").read_text())["frames"]) == tracked.frames


@pytest.fixture
def without_model(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(track_module.Detector, "load", lambda *_a, **_k: detector)
    return


@pytest.mark.usefixtures("without_model")
def test_the_command(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["track", str(film), "--line", "30,0,30,40", "--line", "0,5,9,5", "--json", str(tmp_path / "a.json")]
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{film}: {FRAMES} frames, 2.2 s: 1 x car"
    assert [line.partition(":")[0] for line in lines[1:]] == ["line 30,0,30,40", "line 0,5,9,5"]
    film.write_bytes(film.read_bytes()[:-300])
    assert run(["track", str(film)]) in {1, 2}
    assert capsys.readouterr().err.startswith("ssd: ")


@pytest.mark.usefixtures("without_model")
@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        (["--line", "1,1,1,1"], "length"),
        (["--line", "1,1,2"], "--line"),
        (["--line", "1,1,2,2,3,3"], "3 points"),
        (["--zone", "1,1,2,2"], "--zone"),
        (["--zone", "0,0,10,10,10,0,0,12"], "cross"),
        (["--score", "1.5"], "--score"),
        (["--score", "nan"], "--score"),
        (["--lost", "-1"], "--lost"),
        (["--confirm", "0"], "--confirm"),
        (["--tile", "0"], "--tile"),
        (["another.mp4"], "another.mp4"),
        (["--json", "a.txt", "--mot", "a.txt"], "--mot"),
        (["--json", "in/film.mp4"], "--json"),
        (["--out", "in"], "in"),
    ],
)
def test_wrong_requests_write_nothing(
    arguments: list[str],
    token: str,
    film: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(film.parent.parent)
    assert run(["track", "in/film.mp4", *arguments]) == 2
    error = capsys.readouterr().err
    assert token in error
    assert error.count("\n") == 1
    assert [path for path in Path().rglob("*") if path.is_file()] == [Path("in/film.mp4")]


def test_what_is_no_video(detector: Detector, film: Path, tmp_path: Path) -> None:
    write_video(film.with_name("other.mp4"), moving_square(3))
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "no.mp4").write_bytes(b"#EXTM3U\nhttp://127.0.0.1/x.ts\n")
    wrong: list[tuple[Path, type[SingleshotError], str]] = [
        (film.parent, RequestError, "not one"),
        (tmp_path / "photo.jpg", RequestError, "is no"),
        (tmp_path / "missing.mp4", RequestError, "missing"),
        (tmp_path / "no.mp4", VideoError, "no.mp4"),
    ]
    for source, kind, token in wrong:
        with pytest.raises(kind, match=token):
            track_video(source, TrackOptions(), detector=detector)


def test_the_tracker_is_that_of_the_options() -> None:
    settings = TrackOptions(score=0.75, lost=2.5, confirm=3).settings
    assert (settings.begin_score, settings.high_score, settings.lost_seconds, settings.confirm_frames) == (
        0.75, 0.75, 2.5, 3,
    )  # fmt: skip
    assert settings.low_score == pytest.approx(0.3)
    assert Tracker(settings).settings is settings
