from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import data_fixtures as drawn
from singleshot import photographs
from singleshot.cli.main import run
from singleshot.commands import label as module
from singleshot.commands.label import LabelOptions, label_images, unlabelled_images
from singleshot.data.recognise import open_data
from singleshot.data.writers.new_set import WRITERS
from singleshot.decode import decode_image
from singleshot.errors import DataError, ImageError, RequestError
from singleshot.types import Detections
from singleshot.variants import VOC_CLASSES

CLASSES = ("ant", "bee & co")
DETECTED: dict[str, list[tuple[tuple[float, ...], float, int]]] = {
    "sure.png": [((1, 2, 11.123, 20.456), 0.9, 0), ((0, 0, 5, 5), 0.05, 1)],
    "unsure.png": [((3, 4, 30, 20), 0.6, 1), ((5, 5, 25, 25), 0.4, 0), ((0, 0, 9, 9), 0.2, 0)],
    "nothing.png": [],
}


class ByHand:
    """A detector that detects what stands in `DETECTED`."""

    name = "by hand"
    folder = None

    def stream(self, files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray, Detections] | ImageError]:
        for file in files:
            try:
                pixels = decode_image(file)
            except ImageError as error:
                yield error
                continue
            rows = DETECTED.get(file.name, [])
            boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
            scores = np.array([score for _, score, _ in rows], np.float32)
            yield file, pixels, Detections(boxes, scores, np.array([row[2] for row in rows], np.int64), CLASSES)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The scores that the detector was loaded with."""
    scores: list[float] = []

    def load(_model: object, *, score: float, **_options: object) -> ByHand:
        scores.append(score)
        return ByHand()

    monkeypatch.setattr(module.Detector, "load", load)
    return scores


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in DETECTED:
        drawn.image(tmp_path / "photos" / name)
    (tmp_path / "photos/deep er").mkdir()
    (tmp_path / "photos/unsure.png").rename(tmp_path / "photos/deep er/unsure.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("to", WRITERS)
def test_labels_are_read_back_by_our_own_readers(tmp_path: Path, photos: Path, by_hand: list[float], to: str) -> None:
    written = label_images(photos, LabelOptions(tmp_path / "out", to))
    assert (written.boxes, written.per_class) == (3, {"ant": 2, "bee & co": 1})
    if to == "label-studio":
        submit(tmp_path / "out/tasks.json")
    data = open_data(tmp_path / "out")
    rows = {}
    for index, file in enumerate(data.files):
        truth = data.ground_truth(index)
        names = [data.class_names[number] for number in truth.labels]
        rows[Path(file).name] = list(zip(np.round(truth.boxes_xyxy, 3).tolist(), names, strict=True))
        assert data.sizes_wh[index].tolist() == [40, 30]
    assert {name: objects for name, objects in rows.items() if name != "nothing.png"} == {
        "sure.png": [(pytest.approx([1, 2, 11.12, 20.46], abs=1e-3), "ant")],
        "unsure.png": [([3, 4, 30, 20], "bee & co"), ([5, 5, 25, 25], "ant")],
    }
    assert rows.get("nothing.png", []) == []


def submit(tasks: Path) -> None:
    """What Label Studio exports once a person has submitted every prediction."""
    content = json.loads(tasks.read_text())
    for task in content:
        task["annotations"] = [{"result": prediction["result"]} for prediction in task.pop("predictions")]
    tasks.write_text(json.dumps(content))


def test_images_that_the_model_is_least_sure_of_come_first(tmp_path: Path, photos: Path, by_hand: list[float]) -> None:
    written = label_images(photos, LabelOptions(tmp_path / "out", "cvat"))
    assert [image.file for image in written.images] == ["deep er/unsure.png", "sure.png", "nothing.png"]
    assert [image.corrections for image in written.images] == pytest.approx([0.4 + 0.6 + 0.2, 0.1, 0])
    table = (tmp_path / "out/order.tsv").read_text().splitlines()
    assert table[1:] == [
        "images/deep er/unsure.png\t1.200\t2",
        "images/sure.png\t0.100\t1",
        "images/nothing.png\t0.000\t0",
    ]
    xml = (tmp_path / "out/annotations.xml").read_text()
    assert xml.index("unsure.png") < xml.index("sure.png", xml.index("unsure.png") + 10) < xml.index("nothing.png")
    assert 'source="auto"' in xml
    assert [row["name"] for row in json.loads((tmp_path / "out/labels.json").read_text())] == list(CLASSES)


def test_detections_below_the_label_score_are_seen_but_are_no_labels(
    tmp_path: Path, photos: Path, by_hand: list[float]
) -> None:
    written = label_images(photos, LabelOptions(tmp_path / "out", "voc", score=0.5))
    assert by_hand == [0.1]
    assert written.boxes == 2
    assert written.images[0].corrections == pytest.approx(0.4 + 0.4 + 0.2)
    label_images(photos, LabelOptions(tmp_path / "all", "voc", score=0.05))
    assert by_hand == [0.1, 0.05]


def test_label_studio_takes_the_boxes_as_predictions_in_percent(
    tmp_path: Path, photos: Path, by_hand: list[float]
) -> None:
    label_images(photos, LabelOptions(tmp_path / "out", "label-studio"))
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    assert [unquote(task["data"]["image"].partition("?d=")[2]) for task in tasks] == [
        "images/deep er/unsure.png",
        "images/sure.png",
        "images/nothing.png",
    ]
    assert not any("annotations" in task for task in tasks)
    (prediction,) = tasks[0]["predictions"]
    assert prediction["model_version"] == "by hand"
    first = prediction["result"][0]
    assert first["score"] == pytest.approx(0.6)
    assert first["value"] == {
        "x": 7.5,
        "y": pytest.approx(100 * 4 / 30),
        "width": 67.5,
        "height": pytest.approx(100 * 16 / 30),
        "rotation": 0,
        "rectanglelabels": ["bee & co"],
    }
    scores = [task["predictions"][0]["score"] for task in tasks]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(1 / 2.2, abs=1e-6)
    config = (tmp_path / "out/label-config.xml").read_text()
    assert '<RectangleLabels name="label" toName="image">' in config
    assert '<Label value="bee &amp; co"' in config


def test_predictions_that_nobody_has_submitted_are_no_labels(
    tmp_path: Path, photos: Path, by_hand: list[float]
) -> None:
    label_images(photos, LabelOptions(tmp_path / "out", "label-studio"))
    with pytest.raises(DataError, match="finished annotation"):
        open_data(tmp_path / "out")


def test_of_a_set_only_images_without_labels_are_labelled(tmp_path: Path, by_hand: list[float]) -> None:
    data = drawn.voc(tmp_path / "set", {"a": [("ant", (1, 2, 9, 9))], "b": []})
    for name in ("sure.png", "unsure.png"):
        drawn.image(data / "JPEGImages" / name)
    notes: list[str] = []
    root, files = unlabelled_images(data, on_note=notes.append)
    assert root == data
    assert sorted(file.name for file in files) == ["b.png", "sure.png", "unsure.png"]
    assert "1 of 4 images have labels" in notes[-1]
    assert len(unlabelled_images(data, everything=True)[1]) == 4
    written = label_images(data, LabelOptions(tmp_path / "out", "labelme"))
    assert [Path(place).name for place in written.places] == ["unsure.png", "sure.png", "b.png"]
    for name in ("b", "sure", "unsure"):
        (data / f"JPEGImages/{name}.png").unlink()
    (data / "Annotations/b.xml").unlink()
    with pytest.raises(RequestError, match="--all"):
        label_images(data, LabelOptions(tmp_path / "none", "labelme"))


def test_labels_lie_in_the_frame_of_the_displayed_image(
    tmp_path: Path, by_hand: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "photos").mkdir()
    Image.effect_noise((40, 30), 50).convert("RGB").save(tmp_path / "photos/turned.jpg", exif=exif)
    monkeypatch.setitem(DETECTED, "turned.jpg", [((0, 30, 30, 40), 0.9, 0)])
    for to in ("cvat", "labelme", "voc"):
        label_images(tmp_path / "photos", LabelOptions(tmp_path / to, to))
        data = open_data(tmp_path / to)
        assert data.sizes_wh.tolist() == [[30, 40]]
        assert data.boxes_xyxy.tolist() == [[0, 30, 30, 40]]


def test_a_file_that_cannot_be_used_is_named_and_the_others_are_labelled(
    tmp_path: Path, photos: Path, by_hand: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    for name in ("bell\a.png", "back\\slash.png"):
        (photos / name).write_bytes((photos / "sure.png").read_bytes())
    out = tmp_path / "out"
    command = ["label", str(photos), "--format", "labelme", "--out", str(out), "--json", str(tmp_path / "l.json")]
    assert run(command) == 1
    told = capsys.readouterr()
    assert "broken.jpg" in told.err
    assert "bell" in told.err
    assert "slash" in told.err
    assert "3 images, 3 boxes (2 x ant, 1 x bee & co), labelme" in told.out
    assert "deep er/unsure.png: 2 boxes, 1.2 expected to be wrong or missing" in told.out
    assert f"labelme {out}" in told.out
    figures = json.loads((tmp_path / "l.json").read_text())
    assert len(figures["failed"]) == 3
    assert figures["images"][0] == {
        "file": "deep er/unsure.png",
        "place": "deep er/unsure.png",
        "boxes": 2,
        "expected_corrections": 1.2,
    }


def test_nothing_is_written_where_nothing_is_detected_or_the_place_is_wrong(
    tmp_path: Path, photos: Path, by_hand: list[float]
) -> None:
    with pytest.raises(DataError, match="--score"):
        label_images(photos, LabelOptions(tmp_path / "out", "cvat", score=0.95))
    with pytest.raises(RequestError, match="outside"):
        label_images(photos, LabelOptions(photos / "out", "cvat"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/kept.txt").write_text("kept")
    with pytest.raises(RequestError, match="not empty"):
        label_images(photos, LabelOptions(tmp_path / "full", "cvat"))
    with pytest.raises(RequestError, match="does not exist"):
        label_images(tmp_path / "nowhere", LabelOptions(tmp_path / "out", "cvat"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no images"):
        label_images(tmp_path / "empty", LabelOptions(tmp_path / "out", "cvat"))
    assert not (tmp_path / "out").exists()
    assert not (photos / "out").exists()
    with pytest.raises(RequestError, match="--score"):
        LabelOptions(tmp_path / "out", "cvat", score=0)


def test_a_run_that_is_interrupted_leaves_nothing(
    tmp_path: Path, photos: Path, by_hand: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("singleshot.data.writers.new_set.image_bytes", fail)
    with pytest.raises(KeyboardInterrupt):
        label_images(photos, LabelOptions(tmp_path / "out", "label-studio"))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_videos_of_a_folder_are_left_out_and_counted(tmp_path: Path, photos: Path) -> None:
    (photos / "clip.mp4").write_bytes(b"no video")
    notes: list[str] = []
    assert len(unlabelled_images(photos, on_note=notes.append)[1]) == 3
    assert notes == [f"{photos}: 1 videos left out: labels are of images"]
    for image in photos.rglob("*.png"):
        image.unlink()
    with pytest.raises(RequestError, match="only videos"):
        unlabelled_images(photos)


def test_the_shipped_model_labels_a_photograph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(Path(str(photographs.__file__)).parent / "chelsea.jpg", tmp_path / "photos")
    command = [
        "label",
        str(tmp_path / "photos"),
        "--format",
        "coco",
        "--out",
        str(tmp_path / "out"),
        "--images",
        "none",
    ]
    assert run(command) == 0
    assert "x cat" in capsys.readouterr().out
    content = json.loads((tmp_path / "out/annotations/instances_all.json").read_text())
    assert [item["name"] for item in content["categories"]] == list(VOC_CLASSES)
    assert not (tmp_path / "out/images").exists()
