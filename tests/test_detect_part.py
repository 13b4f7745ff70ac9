"""`ssd detect --part`: parts are disjoint and complete; a job that was killed goes on without a gap or a duplicate."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from singleshot.cli.main import run
from singleshot.commands import detect_part as detect_part_module
from singleshot.commands import job_folder
from singleshot.commands.detect import DetectOptions, detect_files
from singleshot.commands.detect_part import PartListeners, PartOptions, PartResult, detect_part
from singleshot.errors import DataError, RequestError
from singleshot.parts import Part, parse_part
from singleshot.runtime.detector import Detector
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections
from singleshot.variants import SSDLITE320_MOBILENETV2

KILLS = int(os.environ.get("SINGLESHOT_KILLS", "8"))


class Brightness:
    """A backend that finds a car, the surer the brighter the image."""

    spec: ModelSpec = SSDLITE320_MOBILENETV2

    def __init__(self, on_image: Callable[[], None]) -> None:
        self._on_image = on_image

    def workers(self) -> list[object]:
        return [self._detect]

    def _detect(self, image: np.ndarray, **_: object) -> RawDetections:
        self._on_image()
        score = np.float32(0.5 + image.mean() / 512)
        return RawDetections(np.array([[0, 0, 0.5, 1]], np.float32), np.array([score]), np.array([6]))

    def __call__(self, images: Sequence[np.ndarray], **_: object) -> list[RawDetections]:
        return [self._detect(image) for image in images]


def brightness(*, name: str = "brightness", on_image: Callable[[], None] = lambda: None) -> Detector:
    return Detector(Brightness(on_image), name=name)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_folder, "SHARD_FILES", 5)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """32 images of different brightness in two folders, and two files that are none."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    for number in range(32):
        pixels = np.full((8, 8, 3), 5 * number, np.uint8)
        pixels[::2] += 40
        Image.fromarray(pixels).save(folder / ("more" if number % 3 else ".") / f"{number:02d}.png")
    (folder / "03-bad.png").write_bytes(b"no image")
    (folder / "more/40-empty.png").touch()
    return folder


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def detect(source: Path, out: Path, *, part: str = "1/1", detector: Detector | None = None, **more: Any) -> PartResult:
    """Detect a part; `said` and `max_errors` are keywords beside those of `DetectOptions`."""
    said, max_errors = more.pop("said", []), more.pop("max_errors", None)
    options, part_options = DetectOptions(json=out, **more), PartOptions(part, max_errors=max_errors)
    listeners = PartListeners(say=said.append)
    return detect_part([source], options, part_options, detector=detector or brightness(), listeners=listeners)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_parts_are_disjoint_and_complete_and_hold_what_a_plain_run_finds(
    images: Path, tmp_path: Path, count: int
) -> None:
    detect_files([images], DetectOptions(json=tmp_path / "plain.jsonl"), detector=brightness())
    plain = {row["file"]: row for row in rows(tmp_path / "plain.jsonl")}
    of_parts: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        out = tmp_path / f"{number}.jsonl"
        result = detect(images, out, part=f"{number}/{count}")
        assert result.files == len(rows(out))
        of_parts += rows(out)
    files = [row["file"] for row in of_parts]
    assert sorted(files) == sorted(map(str, images.rglob("*.png")))
    errors = {row["file"]: row["error"] for row in of_parts if "error" in row}
    assert {Path(file).name for file in errors} == {"03-bad.png", "40-empty.png"}
    assert all(file in error for file, error in errors.items())
    assert {row["file"]: row for row in of_parts if "error" not in row} == plain


def test_the_part_of_a_file_follows_from_its_name_below_the_source(images: Path, tmp_path: Path) -> None:
    detect(images, tmp_path / "here.jsonl", part="2/3")
    elsewhere = images.rename(tmp_path / "elsewhere")
    (elsewhere / "00-new.png").write_bytes(next(elsewhere.glob("0*.png")).read_bytes())
    detect(elsewhere, tmp_path / "there.jsonl", part="2/3")
    here, there = (
        {Path(row["file"]).relative_to(folder) for row in rows(tmp_path / name)}
        for name, folder in (("here.jsonl", images), ("there.jsonl", elsewhere))
    )
    assert here == there - {Path("00-new.png")}


def test_parts_by_hand() -> None:
    # printf a/b.jpg | b2sum -l 64 gives 67ed673b4d9fccae, which is 2 modulo 4
    assert [Part(number, 4).holds("a/b.jpg") for number in (1, 2, 3, 4)] == [False, False, True, False]
    shares = [sum(Part(number, 4).holds(f"{i}.jpg") for i in range(4_000)) for number in (1, 2, 3, 4)]
    assert sum(shares) == 4_000
    assert all(900 < share < 1_100 for share in shares)
    for text in ("0/4", "5/4", "2", "a/b", "1/2/3", "-1/2", ""):
        with pytest.raises(RequestError, match="2/4"):
            parse_part(text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_job_killed_again_and_again_has_each_file_once(images: Path, tmp_path: Path) -> None:
    detect(images, tmp_path / "whole.jsonl")
    out, generator, deaths = tmp_path / "killed.jsonl", random.Random(0), 0
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            try:
                detect(images, out, detector=brightness(on_image=lambda: time.sleep(0.02)))  # 0.7 s at least
            finally:
                os._exit(0)
        time.sleep(generator.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        deaths += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        for shard in (tmp_path / "killed.jsonl.job/shards").glob("*.jsonl"):
            assert shard.read_text() in (tmp_path / "whole.jsonl").read_text()
    assert deaths
    detect(images, out)
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not list(tmp_path.rglob("*.part"))


def stop_after(images: int) -> Detector:
    """A detector that Ctrl-C interrupts after so many images."""
    seen = iter(range(images))

    def count() -> None:
        if next(seen, None) is None:
            raise KeyboardInterrupt

    return brightness(on_image=count)


def test_going_on_takes_over_what_was_done(images: Path, tmp_path: Path) -> None:
    out, said, counted = tmp_path / "a.jsonl", list[str](), list[int]()
    result = detect(images, out, detector=stop_after(17))
    assert result.interrupted
    assert not out.exists()
    assert 10 <= result.done <= 18
    (images / "00-later.png").write_bytes((images / "00.png").read_bytes())
    second = detect(images, out, detector=brightness(on_image=lambda: counted.append(1)), said=said)
    assert any(f"{result.done} of 34" in line for line in said)
    assert len(counted) == 32 - result.done + 1  # one of the two bad files is in the first shard, the other in the last
    assert [row["file"] for row in rows(out)] == [
        str(path) for path in sorted(images.rglob("*.png")) if "later" not in str(path)
    ]
    assert (second.files, second.taken_over, second.failed) == (34, result.done, 2)


def test_a_job_that_was_finished_is_not_done_again(images: Path, tmp_path: Path) -> None:
    def fail() -> None:
        raise AssertionError("nothing is to be done")

    said: list[str] = []
    detect(images, tmp_path / "a.jsonl")
    before = (tmp_path / "a.jsonl").read_bytes()
    result = detect(images, tmp_path / "a.jsonl", detector=brightness(on_image=fail), said=said)
    assert (result.files, result.failed) == (34, 2)
    assert "finished" in said[0]
    assert (tmp_path / "a.jsonl").read_bytes() == before
    (tmp_path / "a.jsonl").unlink()
    detect(images, tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == before


def test_too_many_errors_stop_a_job_which_goes_on_when_they_are_mended(images: Path, tmp_path: Path) -> None:
    good = (images / "00.png").read_bytes()
    bad = sorted(images.glob("*.png"))[1:9]
    for file in bad:
        file.write_bytes(b"gone")
    with pytest.raises(DataError, match=r"stopped: 4 of 34.*allows 3"):
        detect(images, tmp_path / "a.jsonl", max_errors="10%")
    for file in bad:
        file.write_bytes(good)
    result = detect(images, tmp_path / "a.jsonl", max_errors="10%")
    assert result.failed == 1
    assert [row["file"] for row in rows(tmp_path / "a.jsonl") if "error" in row] == [str(images / "more/40-empty.png")]


def test_files_that_failed_are_tried_again(images: Path, tmp_path: Path) -> None:
    assert detect(images, tmp_path / "a.jsonl", detector=stop_after(25)).interrupted
    assert '"error"' in (tmp_path / "a.jsonl.job/shards/00000000.jsonl").read_text()
    (images / "03-bad.png").write_bytes((images / "00.png").read_bytes())
    assert detect(images, tmp_path / "a.jsonl").failed == 1


def test_a_damaged_shard_is_done_again(images: Path, tmp_path: Path) -> None:
    detect(images, tmp_path / "whole.jsonl")
    detect(images, tmp_path / "a.jsonl", detector=stop_after(25))
    first, second, third = sorted((tmp_path / "a.jsonl.job/shards").glob("*.jsonl"))[:3]
    first.write_bytes(first.read_bytes()[:-9])
    second.write_text(second.read_text() * 2)
    third.write_bytes(b"\xff[]")
    detect(images, tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"score": 0.6}, "--score 0.5.*--score 0.6"),
        ({"part": "1/2"}, "--part 1/1.*--part 1/2"),
        ({"tile": 640}, "no --tile.*--tile 640"),
        ({"detector": brightness(name="another")}, "model"),
    ],
)
def test_another_command_cannot_go_on_with_a_job(
    images: Path, tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    detect(images, tmp_path / "a.jsonl", detector=stop_after(12))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(RequestError, match=named):
        detect(images, tmp_path / "a.jsonl", **changed)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert not detect(images, tmp_path / "a.jsonl").interrupted


def test_two_processes_at_one_job_are_refused(images: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile() -> None:
        if not refused:
            with pytest.raises(RequestError, match="another process") as error:
                detect(images, tmp_path / "a.jsonl")
            refused.append(str(error.value))

    assert detect(images, tmp_path / "a.jsonl", detector=brightness(on_image=meanwhile)).failed == 2
    assert refused


def test_what_a_part_cannot_write_is_refused_before_any_work(images: Path, tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("mine")
    for options, named in (
        ({"json": tmp_path / "a.json"}, "jsonl"),
        ({"json": None}, "--parquet"),
        ({"json": tmp_path / "there.jsonl"}, "not of this job"),
        ({"json": tmp_path / "a.jsonl", "out": tmp_path / "out"}, "--out"),
        ({"json": tmp_path / "a.jsonl", "csv": tmp_path / "a.csv"}, "--csv"),
    ):
        with pytest.raises(RequestError, match=named):
            detect_part([images], DetectOptions(**options), PartOptions("1/1"), detector=brightness())  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="does not exist"):
        detect(tmp_path / "nowhere", tmp_path / "a.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "there.jsonl"]
    assert (tmp_path / "there.jsonl").read_text() == "mine"
    for wrong in ({"max_errors": "3"}, {"parquet": tmp_path / "a.parquet"}):
        with pytest.raises(RequestError, match="--part"):
            PartOptions(**wrong)  # type: ignore[arg-type]


def test_a_job_that_cannot_begin_leaves_what_lies_in_its_folder(tmp_path: Path) -> None:
    job = tmp_path / "a.jsonl.job"
    job.mkdir()
    (job / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="does not exist"):
        detect(tmp_path / "nowhere", tmp_path / "a.jsonl")
    assert [path.name for path in job.iterdir()] == ["notes.txt"]


def test_a_folder_holds_the_results_of_all_parts(images: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        (place,) = detect(images, tmp_path / "out", part=f"{number}/10").outputs
        assert place == tmp_path / f"out/part-{number:02d}-of-10.jsonl"
    assert len(list((tmp_path / "out").glob("*.jsonl"))) == 2


@pytest.mark.parametrize(
    ("text", "files", "allowed"),
    [
        (None, 50, 10),
        (None, 5_000, 500),
        ("0", 50, 0),
        ("7", 50, 7),
        ("1%", 5_000, 50),
        ("0.1%", 1_000, 1),
        ("1%", 99, 0),
    ],
)
def test_how_many_files_may_fail(text: str | None, files: int, allowed: int) -> None:
    assert PartOptions("1/1", max_errors=text).allowed_errors(files) == allowed


@pytest.mark.parametrize("text", ["-1", "1.5", "101%", "nan", "inf", "many", ""])
def test_limits_of_errors_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match="--max-errors"):
        PartOptions("1/1", max_errors=text)


def test_exit_codes_and_lines_of_the_command(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detect_part_module, "load_detector", lambda _options: brightness())
    command = ["detect", str(images), "--part", "1/1", "--json", str(tmp_path / "a.jsonl")]
    assert run([*command, "--max-errors", "1"]) == 2
    assert "--max-errors allows 1" in capsys.readouterr().err
    assert run(command) == 1
    said = capsys.readouterr()
    assert "03-bad.png" in said.err
    assert "40-empty.png" in said.err
    assert said.out.startswith("34 images of part 1/1 in")
    for bad in ("03-bad.png", "more/40-empty.png"):
        (images / bad).unlink()
    assert run([*command[:-1], str(tmp_path / "b.jsonl")]) == 0


def test_parquet_has_the_rows_of_json_lines(images: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    options = DetectOptions(json=tmp_path / "a.jsonl")
    detect_part([images], options, PartOptions("1/1", parquet=tmp_path / "a.parquet"), detector=brightness())
    for row, entry in zip(
        parquet.read_table(tmp_path / "a.parquet").to_pylist(), rows(tmp_path / "a.jsonl"), strict=True
    ):
        assert (row["file"], row["error"], row["width"]) == (entry["file"], entry.get("error"), entry.get("width"))
        detections = row["detections"] and [
            {"box": [d["left"], d["top"], d["right"], d["bottom"]], "label": d["label"], "score": d["score"]}
            for d in row["detections"]
        ]
        assert detections == entry.get("detections")
