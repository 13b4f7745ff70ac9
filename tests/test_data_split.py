from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import data_fixtures as drawn
from singleshot.cli.main import run
from singleshot.commands.data_crop import CropOptions, crop
from singleshot.commands.data_merge import MergeOptions, merge
from singleshot.commands.data_split import SplitOptions, split
from singleshot.data.cropping import cut_boxes
from singleshot.data.stratified import group_names, stratified
from singleshot.data.whole_set import read_whole_set
from singleshot.decode import decode_image
from singleshot.errors import DataError, RequestError
from singleshot.tiles import Tiling
from singleshot.types import Annotations

BOX = ("3", "4", "30", "20")


def frames(folder: Path, *, videos: int = 10, each: int = 4) -> Path:
    """Frames `v0_0` ...: a dog in all, a cat in every fifth video, nothing in the last."""
    images = {}
    for video in range(videos):
        objects = [("dog", BOX), *([("cat", BOX)] if video % 5 == 0 else [])] if video < videos - 1 else []
        images |= {f"v{video}_{frame}": list(objects) for frame in range(each)}
    return drawn.voc(folder, images)


def test_every_part_has_its_share_of_every_class(tmp_path: Path) -> None:
    data = read_whole_set(frames(tmp_path / "set", videos=20))
    parts = stratified(data.annotations, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=3)
    assert sorted(index for indices in parts.values() for index in indices) == list(range(80))
    for name, cats, empty in (("train", 8, 2), ("val", 4, 1), ("test", 4, 1)):
        part = data.annotations.subset(parts[name])
        assert len(part) == {"train": 40}.get(name, 20)
        assert int((part.labels == part.class_names.index("cat")).sum()) == cats
        assert int((np.diff(part.starts) == 0).sum()) == empty


def test_frames_of_one_video_are_never_parted(tmp_path: Path) -> None:
    source = frames(tmp_path / "set")
    written = split(source, SplitOptions(tmp_path / "out", val=0.2, test=0.2, group=r"(.*)_\d+", images="link"))
    assert any("10 groups" in remark for remark in written.remarks)
    data = read_whole_set(tmp_path / "out")
    part_of = {data.places[index]: name for name, indices in data.splits.items() for index in indices}
    videos = {}
    for place, part in part_of.items():
        videos.setdefault(place.partition("_")[0], set()).add(part)
    assert len(videos) == 10
    assert all(len(parts) == 1 for parts in videos.values())
    assert written.splits == {"train": 24, "val": 8, "test": 8}


def test_a_split_does_not_depend_on_the_order_of_the_set_but_on_the_seed(tmp_path: Path) -> None:
    annotations = read_whole_set(frames(tmp_path / "set")).annotations
    shares = {"train": 0.8, "val": 0.2}

    def files(seed: int, order: list[int]) -> set[str]:
        shuffled = annotations.subset(order)
        return {shuffled.files[index] for index in stratified(shuffled, shares, seed=seed)["val"]}

    forward, backward = list(range(40)), list(range(39, -1, -1))
    assert files(0, forward) == files(0, backward)
    assert files(0, forward) != files(1, forward)


def test_groups_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="regular expression"):
        group_names(["a.jpg"], "(")
    with pytest.raises(RequestError, match="matches no image"):
        group_names(["a.jpg"], "frame")
    assert group_names(["a_1.jpg", "b.jpg"], "(.*)_1") == (["a", "/b.jpg"], 1)
    source = frames(tmp_path / "set", videos=2)
    with pytest.raises(DataError, match="2 images or groups"):
        split(source, SplitOptions(tmp_path / "out", val=0.2, test=0.2, group=r"(.*)_\d+"))


@pytest.mark.parametrize(("val", "test"), [(0, 0), (0.5, 0.5), (-0.1, 0.5)])
def test_shares_that_leave_nothing_are_refused(tmp_path: Path, val: float, test: float) -> None:
    with pytest.raises(RequestError, match="--val"):
        SplitOptions(tmp_path, val=val, test=test)


def test_the_command_prints_the_figures_of_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = frames(tmp_path / "set")
    assert run(["data", "split", str(source), "--out", str(tmp_path / "out"), "--val", "0.25"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["boxes", "all", "train", "val"]
    assert lines[1] == ["cat", "8", "6", "2"]


def test_merged_sets_unite_classes_and_splits(tmp_path: Path) -> None:
    first = drawn.voc(tmp_path / "first", {"a": [("dog", BOX)], "b": [("dog", BOX)]}, {"train": ["a"], "val": ["b"]})
    second = drawn.coco(tmp_path / "second", drawn.coco_content(3))
    third = drawn.voc(tmp_path / "third", {"a": [("cow", BOX)]})
    written = merge([first, second, third], MergeOptions(tmp_path / "out", to="coco"))
    assert written.splits == {"train": 4, "val": 1}
    assert written.images == 6
    assert set(written.per_class) == {"dog", "cat", "cow"}
    assert any("third" in remark and "1 images are in no split" in remark for remark in written.remarks)
    data = read_whole_set(tmp_path / "out")
    assert {"first/a.png", "third/a.png", "second/train2017/p0.png"} <= set(data.places)
    index = data.places.index("third/a.png")
    assert data.annotations.path(index).read_bytes() == (third / "JPEGImages/a.png").read_bytes()


def test_tiles_hold_the_pixels_and_boxes_of_their_part(tmp_path: Path) -> None:
    drawn.image(tmp_path / "set/JPEGImages/a.png", width=100, height=60)
    objects = [("dog", ("10", "10", "30", "20")), ("cat", ("40", "0", "60", "60")), ("cow", ("62.5", "5", "99", "50"))]
    (tmp_path / "set/Annotations").mkdir()
    (tmp_path / "set/Annotations/a.xml").write_text(drawn.xml(objects, size=(100, 60)))
    written = crop(tmp_path / "set", CropOptions(tmp_path / "out", Tiling(60, 0.2), visible=0.6))
    assert written.images == 2
    data = read_whole_set(tmp_path / "out")
    assert data.places == ("a_x0_y0.png", "a_x40_y0.png")
    pixels = decode_image(tmp_path / "set/JPEGImages/a.png")
    assert np.array_equal(decode_image(data.annotations.path(1)), pixels[0:60, 40:100])
    names = [data.annotations.class_names[label] for label in data.annotations.ground_truth(1).labels]
    assert names == ["cat", "cow"]
    assert data.annotations.ground_truth(1).boxes_xyxy.tolist() == [[0, 0, 20, 60], [22.5, 5, 59, 50]]


def test_a_box_is_an_object_of_a_tile_from_the_visible_share_on() -> None:
    boxes, share = cut_boxes(
        np.array([[50, 0, 150, 10], [200, 0, 210, 10], [5, 5, 5, 9]], np.float32), (0, 0, 100, 100)
    )
    assert share.tolist() == [0.5, 0, 0]
    assert boxes[0].tolist() == [50, 0, 100, 10]


def test_objects_that_no_tile_shows_are_counted(tmp_path: Path) -> None:
    drawn.image(tmp_path / "set/JPEGImages/a.png", width=100, height=40)
    (tmp_path / "set/Annotations").mkdir()
    objects = [("dog", ("0", "0", "100", "40")), ("cat", ("1", "1", "9", "9"))]
    (tmp_path / "set/Annotations/a.xml").write_text(drawn.xml(objects, size=(100, 40)))
    written = crop(tmp_path / "set", CropOptions(tmp_path / "out", Tiling(50, 0.2), visible=0.9))
    assert any("1 objects are in no tile" in remark for remark in written.remarks)
    assert written.boxes == 1


def test_a_tile_never_takes_the_place_of_an_image_of_its_name(tmp_path: Path) -> None:
    source, out = tmp_path / "set", tmp_path / "out"
    drawn.image(source / "a.png", width=100, height=60, seed=1)
    drawn.image(source / "a_x0_y0.png", width=60, height=60, seed=2)
    (source / "labels.csv").write_text("file,x1,y1,x2,y2,label\na.png,10,10,20,20,cat\na_x0_y0.png,20,20,30,30,dog\n")
    written = crop(source, CropOptions(out, Tiling(60, 0.2)))
    tiles = read_whole_set(out)
    assert len(tiles) == written.images == 3
    assert any("renamed" in remark for remark in written.remarks)
    for index in range(3):
        ground_truth = tiles.annotations.ground_truth(index)
        names = [tiles.annotations.class_names[label] for label in ground_truth.labels]
        whole = decode_image(source / ("a_x0_y0.png" if names == ["dog"] else "a.png"))
        pixels = decode_image(tiles.annotations.path(index))
        assert any((pixels == whole[:, start : start + 60]).all() for start in range(whole.shape[1] - 59))


def test_a_set_of_many_classes_takes_little_memory() -> None:
    """A table of all images and classes would take 160 MB here, and 8 GB of Open Images."""
    images, classes = 20_000, 1000
    nothing = np.zeros(images, bool)
    annotations = Annotations(
        format="voc",
        root=Path(),
        files=tuple(f"{number}.jpg" for number in range(images)),
        ids=tuple(map(str, range(images))),
        class_names=tuple(map(str, range(classes))),
        category_ids=tuple(range(classes)),
        sizes_wh=np.ones((images, 2), np.int32),
        starts=np.arange(images + 1),
        boxes_xyxy=np.zeros((images, 4), np.float32),
        labels=np.arange(images) % classes,
        difficult=nothing,
        crowd=nothing,
        areas=np.zeros(images, np.float32),
    )
    tracemalloc.start()
    parts = stratified(annotations, {"train": 0.8, "val": 0.2})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6
    assert {name: len(indices) for name, indices in parts.items()} == {"train": 16_000, "val": 4000}
    assert np.bincount(annotations.labels[list(parts["val"])], minlength=classes).tolist() == [4] * classes
