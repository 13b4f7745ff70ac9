"""Graphs of TensorFlow's detectors: what is read of them, what is refused, and the engine that they become."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from golden import SHARED
from singleshot import Detector
from singleshot.commands.import_weights import import_files
from singleshot.errors import ModelError, RequestError
from singleshot.graphs.detector_graph import DetectorGraph, graph_of_model, read_detector_graph
from singleshot.graphs.engine import engine_files, graph_spec
from singleshot.graphs.flatbuffer import flexbuffer_map
from singleshot.graphs.import_detector import import_detector
from singleshot.graphs.label_map import default_names, names_of_lines, read_label_map
from singleshot.graphs.tflite import PostProcess, read_tflite
from singleshot.runtime.backends import start_engine
from singleshot.runtime.openvino_core import core, openvino, opset9
from singleshot.spec import ModelSpec, Postprocess
from singleshot.train.initial import base_spec
from tensorflow_graphs import frozen_detector
from tflite_files import ANCHORS, OPTIONS, detector, flexbuffer

NAMES = ("cat", "dog", "owl")
SIZE = (32, 48)


def written(folder: Path, content: bytes, name: str = "model.tflite") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_tflite_file_says_what_it_is(tmp_path: Path) -> None:
    file = read_tflite(written(tmp_path, detector()))
    assert file.post_process == PostProcess(3, 0.5, 0.25, 3, 10.0, 10.0, 5.0, 5.0, use_regular_nms=False)
    np.testing.assert_array_equal(file.anchors, ANCHORS)
    assert (file.rounding, file.input_size_hw, file.input_scale, file.weights) == (0.0, (1, 4), None, "")


def test_quantised_default_boxes_are_dequantised(tmp_path: Path) -> None:
    levels = np.array([[10, 20, 30, 40], [1, 2, 3, 4], [0, 0, 255, 255]], np.uint8)
    file = read_tflite(written(tmp_path, detector(anchors=levels, anchor_scale=0.5)))
    np.testing.assert_array_equal(file.anchors, (levels - np.float32(4)) * np.float32(0.5))
    assert file.rounding == 0.25


def test_options_are_read_whatever_their_width() -> None:
    values = {"a": 1.5, "bb": -7, "ccc": True, "dddd": False}
    assert flexbuffer_map(flexbuffer(values), "file") == values


def test_the_graph_is_cut_before_its_post_process(tmp_path: Path) -> None:
    graph = read_detector_graph(written(tmp_path, detector()))
    image = np.arange(12, dtype=np.uint8).reshape(1, 4, 3) * 20
    offsets, scores = graph.run(image)
    expected = ((image.astype(np.float32) - 127.5) / 127.5).reshape(3, 4)
    np.testing.assert_allclose(offsets, expected, atol=1e-6)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    post = graph.postprocess
    assert (post.scores, post.across_classes, post.nms_threshold, post.score_threshold) == ("sigmoid", True, 0.5, 0.25)
    assert (post.keep_top_k, graph.background, graph.num_labels) == (3, True, 3)
    np.testing.assert_allclose(graph.anchors[0], [0.3, 0.4, 0.7, 0.6], atol=1e-6)
    assert graph.variances == (0.1, 0.1, 0.2, 0.2)


@pytest.mark.parametrize(("classes", "background"), [(3, True), (4, False)])
def test_background_is_told_by_the_number_of_classes(tmp_path: Path, classes: int, background: bool) -> None:
    graph = read_detector_graph(written(tmp_path, detector(options=OPTIONS | {"num_classes": classes})))
    assert graph.background is background
    assert graph.num_labels == classes


def test_the_engine_detects_what_the_graph_says(tmp_path: Path) -> None:
    """One box per object by hand: TensorFlow Lite's decoding and fast NMS."""
    out = tmp_path / "model"
    text = import_files([written(tmp_path, detector())], out, class_names=["cat", "???", "owl"])
    assert "1 of 3 ids have no class" in text
    assert "cannot be trained" in text
    image = np.full((1, 4, 3), 127, np.uint8)
    image[0, 0] = [128, 127, 255]  # numbers 0 to 2: of box 0 the logits of background, cat, ???; 3 is owl's
    found = Detector.load(out)(image)
    logits = (image.reshape(3, 4) - np.float32(127.5)) / np.float32(127.5)
    scores = 1 / (1 + np.exp(-logits[:, [1, 3]]))
    best = int(np.argmax(scores.max(axis=1)))
    assert found.scores[0] == pytest.approx(scores[best].max(), abs=1e-6)
    assert set(found.names) <= {"cat", "owl"}
    assert len(found) <= 3
    config = json.loads((out / "config.json").read_text())
    assert config["model"]["class_names"] == ["cat", "owl"]
    assert config["model"]["boxes"]["variances"] == [0.1, 0.1, 0.2, 0.2]


def test_a_graph_cannot_be_trained_and_says_why(tmp_path: Path) -> None:
    import_files([written(tmp_path, detector())], tmp_path / "model", class_names=NAMES)
    with pytest.raises(RequestError, match="cannot be trained"):
        base_spec(str(tmp_path / "model"))


def test_labels_inside_the_file_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, detector())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\nowl\n")
    assert import_detector(path).spec.class_names == NAMES


def test_damaged_labels_inside_the_file_are_none(tmp_path: Path) -> None:
    """Whatever byte of the archive is changed, names of our own take the place of its."""
    buffer, choose = io.BytesIO(), random.Random(0)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "\n".join(f"name {number}" for number in range(90)))
    plain, packed = detector(), buffer.getvalue()
    for _ in range(200):
        changed = bytearray(packed)
        changed[choose.randrange(len(packed))] = choose.randrange(256)
        read_tflite(written(tmp_path, plain + changed))


@pytest.mark.parametrize("options", [{"y_scale": 0.0}, {"max_detections": float("inf")}])
def test_options_that_are_no_use_are_an_error_of_ours(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="not read"):
        read_detector_graph(written(tmp_path, detector(options=OPTIONS | options)))


def test_a_label_map_that_never_begins_is_refused_at_once(tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(ModelError, match="no items"):
        read_label_map(written(tmp_path, b"item" + b" " * 2**20, "map.pbtxt"), 3)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "cat\ndog\nowl\n", NAMES),
        ("a.txt", "???\ncat\ndog\nowl\n", NAMES),
        ("a.txt", "cat\n???\nowl", ("cat", None, "owl")),
        ("a.txt", "1 cat\n3 owl\n", ("cat", None, "owl")),
        ("a.txt", "0: cat\n1: dog\n2: owl\n", NAMES),
        ("a.pbtxt", "item { id: 1 name: 'cat' }\nitem {\n  id: 3\n  name: \"/m/1\"\n  display_name: \"owl\"\n}\n",
         ("cat", None, "owl")),
    ],
)  # fmt: skip
def test_label_maps(tmp_path: Path, name: str, text: str, expected: tuple[str | None, ...]) -> None:
    (tmp_path / name).write_text(text)
    assert read_label_map(tmp_path / name, 3) == expected


@pytest.mark.parametrize(
    ("name", "text", "token"),
    [
        ("a.txt", "cat\ndog\n", "2 lines"),
        ("a.txt", "cat\ndog\nowl\ncow\ncrow\n", "5 lines"),
        ("a.txt", "cat\ncat\nowl\n", "cat"),
        ("a.txt", "1 cat\n7 owl\n", "7"),
        ("a.pbtxt", "item { id: 9 name: 'cat' }", "9"),
        ("a.pbtxt", "item { id: 1 }", "id: 1"),
        ("a.pbtxt", "", "no items"),
    ],
)
def test_label_maps_of_another_detector_are_refused(tmp_path: Path, name: str, text: str, token: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=token):
        read_label_map(tmp_path / name, 3)


def test_cocos_ids_have_their_names_and_holes() -> None:
    names, remark = default_names(90)
    assert (names[0], names[11], names[12], names[89]) == ("person", None, "stop sign", "toothbrush")
    assert sum(name is None for name in names) == 10
    assert "--labels" in remark
    assert names_of_lines(["???", *(name or "???" for name in names)], 90, "file") == names


def test_a_detector_of_one_class_without_a_name_is_told_of_one_class() -> None:
    assert "class names: class 1, as" in default_names(1)[1]
    assert "class names: class 1 ... class 3, as" in default_names(3)[1]


def test_a_damaged_file_is_an_error_of_ours(tmp_path: Path) -> None:
    """Cut anywhere, or a byte changed anywhere in front of the last constants: never another exception."""
    content, choose = detector(), random.Random(3)
    for length in range(0, len(content), 97):
        with pytest.raises(ModelError):
            read_tflite(written(tmp_path, content[:length]))
    for _ in range(500):
        changed = bytearray(content)
        place = choose.randrange(8, len(content) - 3)
        struct.pack_into("<I", changed, place, choose.choice([0, 1, 2**16, 2**31, 2**32 - 1]))
        with contextlib.suppress(ModelError):  # it may also change what no reader looks at
            read_tflite(written(tmp_path, bytes(changed)))


def test_a_post_process_that_does_not_fit_its_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 default boxes"):
        read_detector_graph(written(tmp_path, detector(anchors=ANCHORS[:2])))
    with pytest.raises(ModelError, match="90 classes"):
        read_detector_graph(written(tmp_path, detector(options=OPTIONS | {"num_classes": 90})))


def test_what_is_no_detector_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plain = detector(custom="SomethingElse")
    for content, token in ((plain, "SomethingElse"), (detector()[:600], "cut short"), (b"no flatbuffer", "TFL3")):
        with pytest.raises(ModelError, match=token):
            import_files([written(tmp_path, content)], out)
    with pytest.raises(RequestError, match="no file http"):
        import_files([Path("http://example.org/model.tflite")], out)
    with pytest.raises(RequestError, match="--size"):
        import_files([written(tmp_path, detector())], out, size_hw=(300, 300))
    saved = tmp_path / "saved"
    saved.mkdir()
    with pytest.raises(ModelError, match=r"saved_model\.pb"):
        import_files([saved], out)
    (saved / "saved_model.pb").symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match="link"):
        import_files([saved], out)
    for content in (b"no graph", b"", b"\x0a\x7fcut short", b"\x0a\x03gra\x0a\x80"):
        with pytest.raises(ModelError, match="cut short"):
            import_files([written(tmp_path, content, "frozen.pb")], out)
    assert not out.exists()


@pytest.mark.parametrize("softmax", [False, True])
def test_a_frozen_graph_gives_its_heads_anchors_and_pixels(softmax: bool) -> None:
    model = frozen_detector(softmax=softmax)
    image = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)
    boxes, scores = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image[None]).values()
    boxes, scores = np.array(boxes), np.array(scores)
    graph = graph_of_model(model, SIZE, "frozen.pb")
    assert graph.input_size_hw == SIZE
    assert graph.postprocess.scores == ("softmax" if softmax else "sigmoid")
    np.testing.assert_allclose(graph.preprocess.mean_rgb, 127.5, atol=1e-3)
    np.testing.assert_allclose(graph.preprocess.std_rgb, 127.5, atol=1e-3)
    np.testing.assert_allclose(graph.variances, (0.1, 0.1, 0.2, 0.2), atol=1e-5)
    names = NAMES
    backend = start_engine("openvino", spec_of(graph), engine_files(graph, names), precision="fp32", origin="graph")
    raw = backend([image], score_threshold=-1.0)[0]
    expected = boxes[:, [1, 0, 3, 2]]
    for box, label, score in zip(raw.boxes_xyxy, raw.labels, raw.scores, strict=True):
        place = int(np.abs(expected - box).max(axis=1).argmin())
        np.testing.assert_allclose(expected[place], box, atol=1e-5)
        assert scores[0, place, label + 1] == pytest.approx(score, abs=1e-5)
    assert len(raw) > 20


def test_normalisation_before_the_resize_is_kept() -> None:
    """As newer graphs of TensorFlow's have it; a graph cut behind the resize lost it, and detected other things."""
    image = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)
    graph, expected = (
        graph_of_model(frozen_detector(preparation=where), SIZE, "frozen.pb") for where in ("normalise", "")
    )
    for values, others in zip(graph.run(image), expected.run(image), strict=True):
        np.testing.assert_allclose(values, others, atol=1e-5)
    np.testing.assert_allclose(graph.preprocess.mean_rgb, 127.5, atol=1e-3)


def test_a_graph_that_does_something_else_to_images_is_refused() -> None:
    with pytest.raises(ModelError, match="prepares its images"):
        graph_of_model(frozen_detector(preparation="square"), SIZE, "frozen.pb")


def test_the_limits_of_nms_are_read_from_the_graph() -> None:
    graph = graph_of_model(frozen_detector(nms=[(50, 0.55, 0.2)]), SIZE, "frozen.pb")
    assert graph.postprocess == Postprocess(0.2, 0.55, top_k=-1, keep_top_k=50, scores="sigmoid")
    assert "IoU of 0.55, at most 50 detections, read from the graph" in graph.remarks[0]


@pytest.mark.parametrize("nms", [[], [(50, 0.55, 0.2), (50, 0.6, 0.2)], [(50, 0.0, 0.2)]])
def test_limits_of_nms_that_are_not_certain_are_assumed_and_told(nms: list[tuple[int, float, float]]) -> None:
    graph = graph_of_model(frozen_detector(nms=nms), SIZE, "frozen.pb")
    assert (graph.postprocess.nms_threshold, graph.postprocess.keep_top_k) == (0.6, 100)
    assert "not read" in graph.remarks[0]


def test_a_graph_for_images_of_any_size_needs_one() -> None:
    with pytest.raises(RequestError, match="--size"):
        graph_of_model(frozen_detector(), None, "frozen.pb")


def spec_of(graph: DetectorGraph) -> ModelSpec:
    """The engine's specification without limits, so that every box is told."""
    spec = graph_spec(graph, NAMES)
    return replace(spec, postprocess=replace(spec.postprocess, top_k=-1, keep_top_k=-1, nms_threshold=1.0))


def test_a_graph_without_decoding_is_no_detector() -> None:
    image = opset9.parameter([1, 8, 8, 3], np.float32)
    x = opset9.transpose(image, np.array([0, 3, 1, 2]))
    filters = opset9.constant(np.ones((2, 3, 3, 3), np.float32))
    model = openvino.Model(
        [opset9.result(opset9.sigmoid(opset9.convolution(x, filters, [1, 1], [0, 0], [0, 0], [1, 1])))], [image], "net"
    )
    with pytest.raises(ModelError, match="no SSD"):
        graph_of_model(model, None, "frozen.pb")


LITERT = SHARED / "weights" / "tensorflow"
IMAGES = SHARED / "data" / "coco_tiny"


@pytest.mark.skipif(not LITERT.is_dir(), reason="no ../shared/weights/tensorflow")
@pytest.mark.parametrize(
    ("name", "labels", "first"),
    [
        ("coco_ssd_mobilenet_v1_uint8", "coco_ssd_mobilenet_v1_labels", 1),
        ("coco_ssd_mobilenet_v2_fpnlite_320_int8w", "coco_ssd_mobilenet_v2_fpnlite_labels", 0),
    ],
)
def test_the_graph_detects_what_litert_detects(name: str, labels: str, first: int) -> None:
    """The best detection of each image; half of a hundredth is the step of 8-bit scores."""
    expected = json.loads((LITERT / "expected.json").read_text())[name]
    lines = (LITERT / f"{labels}.txt").read_text().splitlines()
    graph = read_detector_graph(LITERT / f"{name}.tflite")
    names = read_label_map(LITERT / f"{labels}.txt", graph.num_labels)
    files = engine_files(graph, names)
    detector = Detector(
        start_engine("openvino", graph_spec(graph, names), files, precision="fp32", origin=name), name=name
    )
    agreed = 0
    for file, rows in expected.items():
        (path,) = IMAGES.rglob(file)
        best, found = rows[0], detector(path)
        with PIL.Image.open(path) as image:
            width, height = image.size
        box = np.clip(np.array(best["box"])[[1, 0, 3, 2]], 0, 1) * [width, height, width, height]
        same = found.boxes[np.array(found.names) == lines[best["class"] + first].strip()]
        agreed += len(same) > 0 and np.abs(same - box).max(axis=1).min() < 0.01 * max(width, height)
        assert found.scores[0] == pytest.approx(best["score"], abs=0.02)
    assert agreed >= 19  # of 20: two boxes of nearly equal score may change places
