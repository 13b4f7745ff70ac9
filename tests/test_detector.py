from __future__ import annotations

import json
import multiprocessing
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from data_fixtures import image
from singleshot.cli.main import run
from singleshot.commands.detect import DetectedImage, DetectOptions, detect_files
from singleshot.commands.sources import find_sources
from singleshot.errors import ImageError, MachineError, ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.photographs import CHELSEA
from singleshot.runtime import find_model as find_model_module
from singleshot.runtime.detector import Detector
from singleshot.runtime.find_model import find_model, shipped_models
from singleshot.runtime.image_source import as_array
from singleshot.runtime.openvino_core import require_core_list
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections
from singleshot.train.initial import base_spec
from singleshot.types import Detections
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SMALL = SSDLITE320_MOBILENETV2.with_input_size(64, 64)


class OneBox:
    """A backend that finds the left half of every image, surely, and the right half, hardly."""

    spec: ModelSpec = SMALL

    def workers(self) -> tuple[()]:
        return ()

    def __call__(self, images: Sequence[np.ndarray], **_: object) -> list[RawDetections]:
        boxes = np.array([[-0.1, 0, 0.5, 1], [0.5, 0, 1.2, 1]], np.float32)
        return [RawDetections(boxes, np.array([0.9, 0.2], np.float32), np.array([6, 7])) for _ in images]


@pytest.fixture
def detector() -> Detector:
    return Detector(OneBox(), name="one box")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    save_network(folder, SSD(SMALL), card="# small\n")
    return folder


class BySide:
    """A backend that finds one box in each image, as wide a share of it as its first pixel says.

    With workers it detects image by image, else in batches.
    """

    spec: ModelSpec = SMALL

    def __init__(self, *, with_workers: bool) -> None:
        self.with_workers = with_workers

    def workers(self) -> list[Any]:
        return [self._detect, self._detect] if self.with_workers else []

    def _detect(self, image: np.ndarray, **_: object) -> RawDetections:
        box = np.array([[0, 0, image[0, 0, 0] / 100, 1]], np.float32)
        return RawDetections(box, np.array([0.9], np.float32), np.array([0]))

    def __call__(self, images: Sequence[np.ndarray], **_: object) -> list[RawDetections]:
        return [self._detect(image) for image in images]


@pytest.mark.parametrize("with_workers", [True, False])
def test_a_bad_file_does_not_shift_the_detections_of_later_images(tmp_path: Path, with_workers: bool) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        pixels = np.full((10, 100, 3), 10 * number, np.uint8)
        pixels[-1, -1] = 255  # nothing is detected in an image of one colour
        Image.fromarray(pixels).save(path)
    for number in (0, 3, 4, 9):
        paths[number].write_bytes(b"no image")
    items = list(Detector(BySide(with_workers=with_workers), name="by side").stream(paths, batch_size=3))
    assert [number for number, item in enumerate(items) if isinstance(item, ImageError)] == [0, 3, 4, 9]
    for number in (1, 2, 5, 6, 7, 8):
        item = items[number]
        assert not isinstance(item, ImageError)
        path, pixels, detections = item
        assert (path, pixels[0, 0, 0]) == (paths[number], 10 * number)
        assert detections.boxes[0, 2] == pytest.approx(10 * number)


def test_what_scores_exactly_the_score_is_kept() -> None:
    pixels = CHELSEA.pixels()
    everything = Detector.load()(pixels)
    score = float(everything.scores[1])
    expected = int((everything.scores >= everything.scores[1]).sum())
    assert len(Detector.load(score=score)(pixels)) == expected
    assert len(everything.above(score)) == expected


def test_a_score_that_is_none_is_refused() -> None:
    for wrong in (float("nan"), -0.1, 1.5):
        with pytest.raises(RequestError, match=str(wrong)):
            Detector(OneBox(), name="one box", score=wrong)


def test_a_backend_is_not_changed_by_the_score_of_a_detector() -> None:
    detector = Detector.load(score=0.9)
    assert len(Detector(detector.backend, name="all")(CHELSEA.path)) > len(detector(CHELSEA.path))


@pytest.mark.parametrize("score", [0.0, 0.01, 0.3])
def test_a_score_given_at_loading_finds_the_same_sooner(score: float) -> None:
    image = CHELSEA.pixels()
    everything = Detector.load()(image)
    detections = Detector.load(score=score)(image)
    expected = everything.above(score)
    assert 0 < len(detections) <= len(everything)
    np.testing.assert_array_equal(detections.above(score).boxes, expected.boxes)
    np.testing.assert_array_equal(detections.above(score).scores, expected.scores)
    assert score < 0.02 or len(detections) == len(expected)


def test_boxes_are_pixels_inside_the_displayed_image(detector: Detector, tmp_path: Path) -> None:
    detections = detector(image(tmp_path / "a.png", width=40, height=30))
    assert detections.boxes.tolist() == [[0, 0, 20, 30], [20, 0, 40, 30]]
    assert detections.names == ["car", "cat"]
    rotated = Image.new("RGB", (40, 30))
    rotated.paste("white", (0, 0, 9, 9))
    exif = rotated.getexif()
    exif[0x0112] = 6  # a quarter turn: shown 30 wide and 40 high
    rotated.save(tmp_path / "rotated.jpg", exif=exif)
    assert detector(tmp_path / "rotated.jpg").boxes[0].tolist() == [0, 0, 15, 40]


def test_paths_pil_and_arrays_and_lists_of_them_are_taken(detector: Detector, tmp_path: Path) -> None:
    path = image(tmp_path / "a.png")
    opened = Image.open(path)
    detections = detector([str(path), path, opened, np.asarray(opened)])
    assert [len(of_image) for of_image in detections] == [2, 2, 2, 2]
    assert detector([]) == []


def test_a_folder_with_bad_files_goes_on_and_names_them(detector: Detector, tmp_path: Path) -> None:
    for name in ("a", "sub/a", "c"):
        image(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in/b.jpg").write_bytes(b"<html>")
    (tmp_path / "in/notes.txt").write_text("no image")
    options = DetectOptions(out=tmp_path / "out", json=tmp_path / "deep/found.json")
    result = detect_files([tmp_path / "in"], options, detector=detector)
    assert [image.path for image in result.images] == [
        tmp_path / "in" / name for name in ("a.png", "c.png", "sub/a.png")
    ]
    assert result.images[0].detections.names == ["car"]
    assert (result.files, result.done) == (4, 4)
    assert len(result.failed) == 1
    assert "b.jpg" in result.failed[0]
    copies = [path.relative_to(tmp_path / "out").as_posix() for path in sorted((tmp_path / "out").rglob("*.jpg"))]
    assert copies == ["a.jpg", "c.jpg", "sub/a.jpg"]
    content = json.loads((tmp_path / "deep/found.json").read_text())
    assert content["images"][0] == {
        "file": str(tmp_path / "in/a.png"),
        "width": 40,
        "height": 30,
        "detections": [{"box": [0.0, 0.0, 20.0, 30.0], "label": "car", "score": 0.9}],
    }


def test_copies_are_never_written_among_the_files_of_a_source(detector: Detector, tmp_path: Path) -> None:
    image(tmp_path / "in/a.png")
    image(tmp_path / "out/sub/b.jpg")
    image(tmp_path / "in/sub/b.png")
    with pytest.raises(RequestError, match=r"b\.jpg"):  # its copy would lie beside it
        detect_files([tmp_path / "in", tmp_path / "out/sub"], DetectOptions(out=tmp_path / "out"), detector=detector)
    options = DetectOptions(out=tmp_path / "in/annotated")
    detect_files([tmp_path / "in"], options, detector=detector)
    with pytest.raises(RequestError, match="another folder"):  # the copies would be searched and copied again
        detect_files([tmp_path / "in"], options, detector=detector)


def test_copies_never_replace_originals(detector: Detector, tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(RequestError, match=r"a\.jpg"):
        detect_files([tmp_path / "a.jpg"], DetectOptions(out=tmp_path), detector=detector)
    with pytest.raises(RequestError, match="--out"):
        detect_files([tmp_path / "a.jpg"], DetectOptions(out=tmp_path / "a.jpg"), detector=detector)
    assert (tmp_path / "a.jpg").read_bytes() == before


def test_generators_and_long_lists_are_searched_in_parts(detector: Detector, tmp_path: Path) -> None:
    taken: list[int] = []

    def images() -> Iterator[np.ndarray]:
        for number in range(20):
            taken.append(number)
            yield np.eye(10, 20 + number, dtype=np.uint8)[..., None] * np.full(3, 255, np.uint8)

    class Counting(OneBox):
        def __call__(self, images: Sequence[np.ndarray], **options: object) -> list[RawDetections]:
            assert len(images) <= 8
            assert len(taken) % 8 == len(images) % 8
            return super().__call__(images, **options)

    detections = Detector(Counting(), name="counting")(images())
    assert [of_image.boxes[1, 2] for of_image in detections] == list(range(20, 40))
    assert [len(of_image) for of_image in detector(image(tmp_path / f"{n}.png") for n in range(2))] == [2, 2]


def test_the_place_of_a_bad_image_in_a_list_is_named(detector: Detector) -> None:
    good = np.zeros((5, 5, 3), np.uint8)
    with pytest.raises(ImageError, match="image 9 of the list"):
        detector([good] * 9 + [np.zeros((3, 5, 5), np.uint8)])


def test_what_is_no_image_is_refused(detector: Detector) -> None:
    for wrong in (3, None, {"image": 1}):
        with pytest.raises(ImageError, match="None" if wrong is None else type(wrong).__name__):
            detector(wrong)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["best.pt", "ssd300.pth", "a.caffemodel", "b.onnx", "c.tflite", "d.PB", "e.npz"])
def test_weights_of_other_programs_are_sent_to_the_importer(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    for load in (find_model, base_spec):
        with pytest.raises(RequestError, match="ssd weights import"):
            load(str(tmp_path / name))


def test_a_notebook_shows_the_image_while_it_is_there(detector: Detector, tmp_path: Path) -> None:
    path = image(tmp_path / "a.png")
    of_file, of_array = detector(path), detector(np.zeros((30, 40, 3), np.uint8))
    for detections in (of_file, of_array, of_file.above(0.5), of_array.as_one_class("thing")):
        shown = detections._repr_html_()
        assert shown is not None
        assert "data:image/jpeg;base64," in shown
        assert f"{len(detections)} detections" in shown
    detector(np.zeros((30, 40, 3), np.uint8))  # now the detector keeps this image, and no other
    path.unlink()
    assert of_array._repr_html_() is None
    assert of_file._repr_html_() is None


def test_a_notebook_draws_likely_detections_and_says_so() -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    boxes = np.array([[1, 1, 9, 9], [20, 20, 30, 29]], np.float32)
    detections = Detections(boxes, np.array([0.9, 0.01], np.float32), np.array([0, 0]), ("<b>",), lambda: pixels)
    shown = detections._repr_html_()
    assert shown is not None
    assert "1 of 2 detections" in shown
    assert "<b>" not in shown


def test_detections_travel_without_their_image(detector: Detector) -> None:
    detections = detector(np.zeros((30, 40, 3), np.uint8))
    copy = pickle.loads(pickle.dumps(detections))  # noqa: S301  (our own)
    np.testing.assert_array_equal(copy.boxes, detections.boxes)
    assert (copy.names, copy.image) == (detections.names, None)


def test_a_machine_that_does_not_list_its_cores_is_refused(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    with pytest.raises(MachineError, match="cpuinfo"):
        require_core_list([tmp_path / "online", listed])
    listed.touch()
    require_core_list([tmp_path / "online", listed])


def test_threads_may_share_a_detector() -> None:
    detector, cat = Detector.load(score=0.5), CHELSEA.pixels()
    images = [cat, cat[:, ::-1], cat[50:], cat[:, 60:]]
    expected = [detector(pixels).boxes.tolist() for pixels in images]
    with ThreadPoolExecutor(4) as pool:
        boxes = list(pool.map(lambda pixels: detector(pixels).boxes.tolist(), images * 3))
    assert boxes == expected * 3


def _child_detections(detector: Detector, *, seconds: float = 60) -> int:
    """How many detections a forked process has of a black image."""
    results: Any = multiprocessing.get_context("fork").SimpleQueue()

    def detect() -> None:
        warnings.simplefilter("ignore")
        results.put(len(detector(np.zeros((30, 40, 3), np.uint8))))

    process = multiprocessing.get_context("fork").Process(target=detect)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        pytest.fail("the child hangs")
    return int(results.get())


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_detector_works_in_a_process_that_is_forked_later(model: Path) -> None:
    for name in (None, model):
        detector = Detector.load(name)
        expected = len(detector(np.zeros((30, 40, 3), np.uint8)))
        assert _child_detections(detector) == expected


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_torch_does_not_wait_for_threads_of_another_process(model: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(2)
    detector = Detector.load(model)
    expected = len(detector(np.zeros((30, 40, 3), np.uint8)))
    assert _child_detections(detector) == expected


def test_more_images_than_are_decoded_ahead_come_in_order(detector: Detector, tmp_path: Path) -> None:
    paths = [image(tmp_path / f"{i:02}.png", width=20 + i) for i in range(23)]
    detections = list(detector.stream([*map(str, paths[:2]), *paths[2:]], batch_size=3))
    assert [item[0] for item in detections if not isinstance(item, ImageError)] == paths
    assert [item[1].shape[1] for item in detections if not isinstance(item, ImageError)] == [20 + i for i in range(23)]


def test_patterns_are_files_and_addresses_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        image(tmp_path / name)
    assert [p.name for p in find_sources([str(tmp_path / "*.png"), str(tmp_path / "a.png")]).images] == [
        "a.png",
        "b.png",
    ]
    for source, message in {
        "http://example.com/a.png": "http://example.com/a.png",
        str(tmp_path / "missing.png"): "missing.png",
    }.items():
        with pytest.raises(RequestError, match=message):
            find_sources([source])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="empty"):
        find_sources([str(tmp_path / "empty")])


OPENED: list[str] | None = None


def note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if OPENED is not None and event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(note_opened)  # for ever; silent while OPENED is None


def test_loading_a_model_reads_each_of_its_files_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "OPENED", [])
    shipped = next(iter(shipped_models().values()))
    Detector.load()
    assert OPENED is not None
    read = [str(Path(name).relative_to(shipped)) for name in OPENED if name.startswith(str(shipped))]
    engines = sorted(path.name for path in shipped.iterdir() if path.is_dir())
    of_engines = [f"{engine}/{name}" for engine in engines for name in ("SHA256SUMS", "config.json")]
    chosen = [f"openvino-int8/{name}" for name in ("model.xml", "model.bin")]
    assert sorted(read) == sorted(["SHA256SUMS", "config.json", *of_engines, *chosen])
    monkeypatch.setattr(sys.modules[__name__], "OPENED", [])
    Detector.load(precision="fp32")
    read = [str(Path(name).relative_to(shipped)) for name in OPENED if name.startswith(str(shipped))]
    assert sorted(read) == sorted(["SHA256SUMS", "config.json", *of_engines, "model.safetensors"])


def test_models_are_found_by_folder_and_name(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_model_module, "shipped_models", lambda: {"cars": model})
    assert find_model(None).path == find_model("cars").path == find_model(model).path == model
    with pytest.raises(RequestError, match="ssd300-vgg16"):
        find_model("ssd300-vgg16")
    with pytest.raises(RequestError, match="did you mean cars"):
        find_model("carz")
    with pytest.raises(RequestError, match="runs/none"):
        find_model(tmp_path / "runs/none")
    monkeypatch.setattr(find_model_module, "shipped_models", dict)
    with pytest.raises(RequestError, match="--model FOLDER"):
        find_model(None)


def test_the_command_detects_with_a_model_folder(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = image(tmp_path / "a.png")
    arguments = ["detect", str(path), "--model", str(model), "--json", str(tmp_path / "found.json"), "--score", "0.01"]
    assert run(arguments) == 0
    assert json.loads((tmp_path / "found.json").read_text())["model"] == str(model)
    (tmp_path / "bad.jpg").write_bytes(b"")
    assert run(["detect", str(tmp_path), "--model", str(model)]) == 1
    assert "bad.jpg" in capsys.readouterr().err


def test_a_video_is_called_a_video(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    assert run(["detect", str(tmp_path / "clip.mp4"), "--model", str(model)]) == 1
    error = capsys.readouterr().err
    assert "video" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect"], "which images"),
        (["detect", "IMAGE", "--score", "2"], "between 0 and 1"),
        (["detect", "IMAGE", "--model", "ssd300-vgg"], "did you mean ssd300-vgg16"),
        (["detect", "IMAGE", "--modle", "x"], "--model"),
        (["detct", "IMAGE"], "did you mean detect"),
        (["models", "ssd30-vgg16"], "did you mean ssd300-vgg16"),
    ],
)
def test_wrong_requests_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(image(tmp_path / "a.png"))
    assert run([path if argument == "IMAGE" else argument for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        Detector.load(tmp_path)


def test_models_lists_variants_and_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json", str(tmp_path / "models.json")]) == 0
    rows = json.loads((tmp_path / "models.json").read_text())
    assert {"ssd300-vgg16", "ssd512-vgg16", "ssd300-mobilenetv1", "ssdlite320-mobilenetv2"} <= {r["name"] for r in rows}
    assert [row["weights"] for row in rows if row["name"] == "ssdlite320-mobilenetv2"] == ["shipped"]
    assert len({row["name"] for row in rows}) == len(rows)
    assert {row["backbone"] for row in rows} == {row["base"] for row in rows} >= {"vgg16", "mobilenetv2"}
    assert run(["models", "ssd300-mobilenetv1", "--json", str(tmp_path / "layers.json")]) == 0
    layers = json.loads((tmp_path / "layers.json").read_text())
    assert {"name", "kind", "kernel", "stride", "dilation", "parameters"} <= layers[0].keys()
    assert "conv13" in capsys.readouterr().out


def test_names_are_whole_in_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    for words in (["models"], ["models", "ssd300-mobilenetv1"]):
        assert run([*words, "--json", str(tmp_path / "rows.json")]) == 0
        lines = capsys.readouterr().out.splitlines()
        names = [row["name"] for row in json.loads((tmp_path / "rows.json").read_text())]
        assert [line.split()[0] for line in lines] == ["name", *names]


def test_what_is_detected_is_summed_up_by_class() -> None:
    scores = np.array([0.98, 0.9, 0.6], np.float32)
    detections = Detections(np.zeros((3, 4), np.float32), scores, np.array([1, 0, 1]), ("cat", "car"))
    assert DetectedImage(Path("a"), (1, 1), detections).summary == "2 x car 98% 60%, cat 90%"
    assert DetectedImage(Path("a"), (1, 1), detections[:0]).summary == "nothing"


def test_copies_show_nothing_below_the_score(detector: Detector, tmp_path: Path) -> None:
    """The stand-in finds the right half hardly; the caption of the left half stays in the left half."""
    pixels = np.full((300, 400, 3), 127, np.uint8)
    pixels[:5, :5] = 0  # nothing is detected in an image of one colour
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for score, right_is_drawn in ((0.2, True), (0.21, False)):
        options = DetectOptions(score=score, out=tmp_path / "out")
        (copy,) = detect_files([tmp_path / "a.png"], options, detector=detector).copies
        right = np.asarray(Image.open(copy))[:, 216:].astype(int)
        assert (np.abs(right - 127).max() > 50) == right_is_drawn


def test_leaving_the_engine_for_torch_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(image(tmp_path / "a.png"))
    assert run(["detect", path]) == 0
    assert capsys.readouterr().err == ""
    assert run(["detect", path, "--precision", "fp32"]) == 0
    error = capsys.readouterr().err
    assert "int8" in error
    assert "torch" in error
    assert error.count("\n") == 1


def test_copies_replace_earlier_copies_and_nothing_else(detector: Detector, tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    out = tmp_path / "out"
    files, options = [tmp_path / "a.jpg"], DetectOptions(out=out)
    for _ in range(2):
        assert detect_files(files, options, detector=detector).copies == [out / "a.jpg"]
    (out / "a.jpg").write_text("precious")
    assert detect_files(files, options, detector=detector).copies == [out / "a-2.jpg"]
    assert (out / "a.jpg").read_text() == "precious"
    (tmp_path / "outside.txt").write_text("precious")
    (out / "a.jpg").unlink()
    (out / "a.jpg").symlink_to(tmp_path / "outside.txt")
    assert detect_files(files, options, detector=detector).copies == [out / "a-2.jpg"]
    assert (tmp_path / "outside.txt").read_text() == "precious"


def test_ctrl_c_keeps_what_was_found_so_far(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.png")
    original = Detector.stream

    def two_then_ctrl_c(self: Detector, paths: list[Path]) -> Any:
        yield from list(original(self, paths))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr(Detector, "stream", two_then_ctrl_c)
    file = tmp_path / "found.json"
    assert run(["detect", str(tmp_path), "--model", str(model), "--json", str(file)]) == 130
    assert "interrupted after 2 of 3 images" in capsys.readouterr().err
    assert [entry["file"][-5:] for entry in json.loads(file.read_text())["images"]] == ["a.png", "b.png"]


def test_json_never_replaces_what_is_read(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = image(tmp_path / "a.jpg")
    before = path.read_bytes()
    assert run(["detect", str(path), "--model", str(model), "--json", str(path)]) == 2
    assert "--json would replace" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_opened_image_is_turned_as_its_file_is(detector: Detector, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as opened:
        assert as_array(opened).shape == as_array(tmp_path / "turned.jpg").shape == (40, 20, 3)


def test_steering_characters_of_names_are_written_out(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = image(tmp_path / "\x1b[2J:car:.jpg")
    assert run(["detect", str(path), "--model", str(model)]) == 0
    said = capsys.readouterr().out
    assert r"\x1b[2J:car:.jpg" in said
    assert "\x1b" not in said


def test_nothing_is_detected_where_nothing_can_be_seen(detector: Detector) -> None:
    """A black image, a grey one and one with the faintest noise; one white pixel is something."""
    noise = np.random.default_rng(0).integers(0, 8, (30, 40, 3), np.uint8)
    for pixels in (np.zeros((30, 40, 3), np.uint8), np.full((30, 40, 3), 60, np.uint8), noise):
        assert len(detector(pixels)) == 0
    noise[3, 5] = 255
    assert len(detector(noise)) == 2


def test_the_limit_of_pixels_is_an_argument(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30)).save(path)
    small = Detector.load(max_megapixels=0.0011)
    with pytest.raises(ImageError, match="--max-megapixels"):
        small(path)
    assert isinstance(next(iter(small.stream([path]))), ImageError)
    assert len(Detector.load(max_megapixels=0.0012)(path)) == 0
    with pytest.raises(RequestError, match="megapixels"):
        Detector.load(max_megapixels=-1)
