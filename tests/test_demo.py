from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from singleshot.boxes import area, intersection
from singleshot.data.check import check
from singleshot.data.recognise import open_data
from singleshot.decode import decode_image
from singleshot.errors import RequestError
from singleshot.lab.demo.drawn_set import EMPTY_EVERY, SPLITS_DRAWN, Split, draw_set
from singleshot.lab.demo.objects import OBJECTS
from singleshot.lab.demo.run import TRAINING, DemoSettings, run_demo, training_command
from singleshot.lab.demo.scene import HEIGHT, MOST_HIDDEN, VISIBLE, WIDTH, blend, draw_scene, free_place, visible_box
from singleshot.models.ssd import SSD
from singleshot.photographs import BEHIND_TEST, BEHIND_TRAINING, FOLDER, PHOTOGRAPHS, ROCKET
from singleshot.train.options import TrainOptions
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from pathlib import Path

LIGHT = np.array([-0.48, -0.6, 0.64], np.float32)
FEW = {
    "train": Split(EMPTY_EVERY + 1, BEHIND_TRAINING),
    "val": Split(3, BEHIND_TRAINING),
    "test": Split(4, BEHIND_TEST),
}


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "set"
    draw_set(folder, splits=FEW)
    return folder


# --- photographs


def test_every_photograph_is_attributed_small_and_opens():
    table = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in table.splitlines() if row.startswith("| `")}
    files = {path.name for path in FOLDER.glob("*.jpg")}
    assert files == set(rows) == {photograph.path.name for photograph in PHOTOGRAPHS}
    for name, row in rows.items():
        assert row.rstrip("| ").endswith(("CC0 1.0", "public domain", "no known copyright restrictions")), name
        assert (FOLDER / name).stat().st_size < 300_000
        assert min(decode_image(FOLDER / name).shape[:2]) >= 300


def test_no_photograph_is_behind_training_and_test_images():
    assert not set(BEHIND_TRAINING) & set(BEHIND_TEST)
    assert SPLITS_DRAWN["test"].behind == BEHIND_TEST
    assert SPLITS_DRAWN["train"].behind == SPLITS_DRAWN["val"].behind == BEHIND_TRAINING


# --- objects


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("size", [18.0, 47.5, 120.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_sprite_is_whole_and_its_box_tight(name, size, seed):
    sprite = OBJECTS[name](size, LIGHT, np.random.default_rng(seed))
    assert sprite.opacity.shape == sprite.colour.shape[:2]
    assert 0 <= sprite.opacity.min() <= sprite.opacity.max() <= 1.0001
    assert (sprite.colour <= sprite.opacity[..., None] + 1e-3).all()  # premultiplied
    edge = np.concatenate([sprite.opacity[[0, -1]].ravel(), sprite.opacity[:, [0, -1]].ravel()])
    assert edge.max() < VISIBLE  # nothing is cut off
    left, top, right, bottom = visible_box(sprite)
    seen = sprite.opacity >= VISIBLE
    assert seen[top:bottom, left:right].sum() == seen.sum()
    for line in (seen[top], seen[bottom - 1], seen[:, left], seen[:, right - 1]):
        assert line.any()
    assert 0.35 * size <= max(right - left, bottom - top) <= 1.2 * size


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_of_a_class_differ(name):
    generator = np.random.default_rng(0)
    first, second = (OBJECTS[name](40, LIGHT, generator) for _ in range(2))
    assert not np.array_equal(first.colour, second.colour)


# --- scenes


@pytest.mark.parametrize("seed", range(8))
def test_boxes_are_inside_and_hide_little_of_each_other(seed):
    scene = draw_scene([ROCKET.pixels()], np.random.default_rng(seed))
    boxes = scene.boxes_xyxy
    assert scene.image.shape == (HEIGHT, WIDTH, 3)
    assert len(boxes) == len(scene.names) > 0
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [WIDTH, HEIGHT]).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 6).all()
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert intersection(one, other) <= MOST_HIDDEN * min(area(one), area(other))


def test_an_object_lies_where_its_box_says():
    generator = np.random.default_rng(5)
    for name, draw in OBJECTS.items():
        sprite = draw(60.0, LIGHT, generator)
        place = free_place(sprite, np.zeros((0, 4), np.int64), generator)
        assert place is not None
        left, top, box = place
        opacity = np.ones((HEIGHT, WIDTH, 3), np.float32)
        blend(opacity, replace(sprite, colour=np.zeros_like(sprite.colour)), left, top)
        rows, columns = np.nonzero(1 - opacity[..., 0] >= VISIBLE)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], name


def test_a_full_image_has_no_free_place():
    sprite = OBJECTS["ball"](60.0, LIGHT, np.random.default_rng(0))
    everything = np.array([[0, 0, WIDTH, HEIGHT]])
    assert free_place(sprite, everything, np.random.default_rng(0)) is None


# --- the set


def test_the_same_seed_draws_the_same_files(drawn, tmp_path):
    draw_set(tmp_path / "again", splits=FEW)
    assert hashes(tmp_path / "again") == hashes(drawn)
    draw_set(tmp_path / "other", seed=1, splits=FEW)
    assert not set(hashes(tmp_path / "other").values()) & {
        value for name, value in hashes(drawn).items() if name.endswith(".jpg")
    }


def test_a_image_does_not_depend_on_how_many_are_drawn(drawn, tmp_path):
    draw_set(tmp_path, splits={"train": replace(FEW["train"], images=2)})
    for name in ("JPEGImages/train_0001.jpg", "Annotations/train_0001.xml"):
        assert (tmp_path / name).read_bytes() == (drawn / name).read_bytes()


def test_the_set_reads_back_as_drawn(drawn):
    for stream, (name, split) in enumerate(FEW.items()):
        annotations = open_data(drawn, split=name)
        assert len(annotations) == split.images
        scene = draw_scene([one.pixels() for one in split.behind], np.random.default_rng([0, stream, 1]))
        ground_truth = annotations.ground_truth(1)
        assert [annotations.class_names[label] for label in ground_truth.labels] == list(scene.names)
        assert (ground_truth.boxes_xyxy - scene.boxes_xyxy == [1, 1, 0, 0]).all()  # VOC counts pixels from 1


def test_the_check_finds_no_fault(drawn):
    assert check(drawn).faults == ()


def test_a_few_images_are_background_alone(drawn):
    counts = np.diff(open_data(drawn, split="train").starts)
    assert np.flatnonzero(counts == 0).tolist() == [EMPTY_EVERY - 1]


def test_the_classes_are_the_objects_and_sizes_span_small_and_large(drawn):
    annotations = open_data(drawn, split="train")
    assert annotations.class_names == tuple(sorted(OBJECTS))
    sizes = np.sqrt(area(annotations.boxes_xyxy))
    assert np.quantile(sizes, 0.3) < 30
    assert np.quantile(sizes, 0.95) > 100
    assert set(annotations.labels.tolist()) == set(range(len(OBJECTS)))


# --- the whole


@pytest.fixture
def model(tmp_path: Path) -> str:
    spec = replace(SSDLITE320_MOBILENETV2.with_input_size(64, 64), class_names=("cat", "person"))
    save_network(tmp_path / "tiny", SSD(spec), card="# tiny\n")
    return str(tmp_path / "tiny")


def test_a_short_demonstration_writes_one_report(model, tmp_path):
    training = TrainOptions(input_size="64x64", iterations=2, batch_size=2, workers=0, threads=1, precision="fp32")
    settings = DemoSettings(model=model, splits=FEW, training=training, score=0.0)
    out = tmp_path / "out"
    report = run_demo(out, settings)
    page = report.read_text(encoding="utf-8")
    assert report == out / "report.html"
    for words in ("chelsea (a cat)", "mAP before", "ladybird", "ssd train", "Orange: before"):
        assert words in page
    assert {path.name for path in (out / "detected").iterdir()} == {"chelsea.jpg", "astronaut.jpg", "camera.jpg"}
    assert (out / "fine-tuned" / "best" / "model.safetensors").is_file()
    again = run_demo(out, settings)  # its own folder may be used again
    assert again == report


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "drawn-set").mkdir()
    (tmp_path / "drawn-set" / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="--out"):
        run_demo(tmp_path, DemoSettings(model="no-such-model"))
    assert (tmp_path / "drawn-set" / "mine.txt").read_text() == "mine"


def test_the_command_says_what_differs_from_the_defaults(tmp_path):
    words = training_command(tmp_path / "set", TRAINING).split()
    assert words[:3] == ["ssd", "train", str(tmp_path / "set")]
    flags = {flag: value for flag, value in pairwise(words[3:]) if flag.startswith("--")}
    assert flags["--input-size"] == TRAINING.input_size
    assert flags["--iterations"] == str(TRAINING.iterations)
    assert "--seed" not in flags
