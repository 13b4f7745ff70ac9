"""The own-data suite's parts: groups that never part, lists of names, and what its readers mend."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import defusedxml.ElementTree
import numpy as np
import own_data
import pytest
from own_data_sets import drones, face_masks, faces, street, write_voc_folder
from own_data_splits import SHARES, Together, grouped, read_list, split_of_folder, write_image_sets, write_list
from own_data_yardstick import Recorder, document
from PIL import Image

from singleshot.data.recognise import open_data

MASKS = "data/coco/{}/val2017/maksssksksss7_png.rf.0{}"


class Files:
    """A snapshot in memory."""

    def __init__(self, files: dict[str, bytes | str]) -> None:
        self.contents = {path: file.encode() if isinstance(file, str) else file for path, file in files.items()}

    def files(self, *under: str) -> list[str]:
        return [path for path in self.contents if path.startswith(tuple(f"{folder}/" for folder in under))]

    def read(self, paths: Iterable[str]) -> Iterator[bytes]:
        return (self.contents[path] for path in paths)


def jpeg(size_wh: tuple[int, int] = (40, 30), grey: int = 90) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size_wh, (grey, grey, grey)).save(content, "JPEG")
    return content.getvalue()


def voc(objects: Iterable[tuple[str, int, int, int, int]], size_wh: tuple[int, int] = (40, 30)) -> str:
    sides = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    items = [f"<object><name>{name}</name><bndbox>{sides.format(*box)}</bndbox></object>" for name, *box in objects]
    width, height = size_wh
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{''.join(items)}</annotation>"


def correlated(*rows: Iterable[float]) -> np.ndarray:
    values = np.array(rows, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_images_that_look_alike_are_a_group_wherever_they_lie_and_links_chain() -> None:
    thumbnails = correlated([1, 0], [-1, 1], [1, 0.9], [1, 0.4])
    groups = grouped(["a", "b", "c", "d"], [(4, 3)] * 4, thumbnails, Together(alike=0.9))
    assert groups == [0, 1, 0, 0]  # a and c correlate by 0.74, both with d by more than 0.9


def test_near_duplicates_stay_a_group_and_are_linked_further() -> None:
    together = Together(alike=1.1, key=lambda name, _size_wh: "a" if name in ("2", "3") else None)
    groups = grouped(["0", "1", "2", "3"], [(4, 3)] * 4, np.eye(4), together, duplicates=[0, 1, 0, 3])
    assert groups == [0, 1, 0, 0]


def test_images_of_one_key_are_a_group() -> None:
    together = Together(key=lambda name, size_wh: name.split("-")[0] if size_wh == (4, 3) else None)
    groups = grouped(["sea-1", "sky-2", "sea-3", "sea-4"], [(4, 3)] * 3 + [(3, 4)], np.eye(4), together)
    assert groups == [0, 1, 0, 3]


def test_frames_near_each_other_are_a_group_at_a_lower_correlation() -> None:
    thumbnails = correlated([1, 0], [1, 0.9], [1, 0.9])
    together = Together(alike=1.1, number=int, reach=5, neighbours_alike=0.7)
    assert grouped(["000001", "000006", "000012"], [(4, 3)] * 3, thumbnails, together) == [0, 0, 2]


def test_a_split_keeps_groups_together_and_is_the_same_again(tmp_path: Path) -> None:
    labels = {f"{number:06}": jpeg(grey=number * 6) for number in range(40)}
    files = {f"JPEGImages/{name}.jpg": content for name, content in labels.items()}
    files |= {f"Annotations/{name}.xml": voc([("person", 3, 3, 20, 20)]) for name in labels}
    write_voc_folder(Files(files), street(Files(files)), tmp_path / "set")
    together = Together(alike=1.1, key=lambda name, _size_wh: name[:5])
    split = split_of_folder(tmp_path / "set", together)
    assert split == split_of_folder(tmp_path / "set", together)
    part_of = {name: part for part, names in split.items() for name in names}
    assert sorted(part_of) == sorted(labels)
    assert all(len({part_of[f"{ten:05}{unit}"] for unit in range(10)}) == 1 for ten in range(4))
    assert all(split.values())


def test_a_list_comes_back_and_an_image_in_two_parts_is_refused(tmp_path: Path) -> None:
    split = {"train": ["a b", "c"], "val": ["d"], "test": []}
    write_list(tmp_path / "set.txt", split)
    assert read_list(tmp_path / "set.txt") == split
    (tmp_path / "set.txt").write_text("train a\nval a\n")
    with pytest.raises(ValueError, match="line 2"):
        read_list(tmp_path / "set.txt")


@pytest.mark.parametrize("name", [name for name, own in own_data.SETS.items() if own.repository])
def test_the_lists_of_the_suite_have_the_shares_that_they_say(name: str) -> None:
    split = read_list(own_data.LISTS / f"{name}.txt")
    total = sum(map(len, split.values()))
    assert all(abs(len(split[part]) / total - share) < 0.05 for part, share in SHARES.items())
    key = own_data.SETS[name].together.key
    keys = [{key(image, (1, 1)) for image in names} - {None} for names in split.values()]
    assert not keys[0] & keys[1]
    assert not (keys[0] | keys[1]) & keys[2]


def test_masks_are_read_as_fractions_and_cut_at_the_edge(tmp_path: Path) -> None:
    snapshot = Files({MASKS.format("images", ".jpg"): jpeg(), MASKS.format("labels", ".txt"): "1 0.5 0.5 0.5 1.2\n"})
    write_voc_folder(snapshot, face_masks(snapshot), tmp_path)
    write_image_sets(tmp_path, {"train": ["maksssksksss7"]})
    annotations = open_data(tmp_path, split="train")
    assert annotations.class_names == ("with_mask",)
    np.testing.assert_allclose(annotations.boxes_xyxy, [[10, 0, 30, 30]])


def test_clicks_beside_a_drone_are_left_out_and_images_with_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    files = {"images/a.jpg": jpeg(), "labels/a.txt": "0 20 15 10 8\n0 5.5 5.5 1 1\n"}
    files |= {"images/b.jpg": jpeg(), "labels/b.txt": "0 5.5 5.5 1 1"}
    labels = drones(Files(files))
    assert [(name, [item.box for item in image.objects]) for name, image in labels.items()] == [
        ("a", [(15, 11, 25, 19)])
    ]
    assert "2 boxes" in capsys.readouterr().out


def test_faces_are_boxes_around_ellipses_and_those_at_an_edge_come_back() -> None:
    folds = {f"FDDB-folds/FDDB-fold-{number:02}-ellipseList.txt": "" for number in range(1, 11)}
    upright, tilted, outside = "10 6 1.5707963 30 40  1", "10 6 0 30 40  1", "10 6 1.5707963 2 40  1"
    folds["FDDB-folds/FDDB-fold-01-ellipseList.txt"] = f"no/box/left\n1\n{outside}\nkept\n2\n{tilted}\n{outside}\n"
    folds["FDDB-folds/FDDB-fold-02-ellipseList.txt"] = f"next\n1\n{upright}\n"
    files: dict[str, bytes | str] = {f"JPEGImages/{number}.jpg": jpeg((80, 80)) for number in "01"}
    files["Annotations/0.xml"] = voc([("face", 24, 30, 36, 50)], (80, 80))  # as if the angle were 0 degrees
    files["Annotations/1.xml"] = voc([("face", 23, 29, 36, 50)], (80, 80))
    labels = faces(Files(files | folds))
    np.testing.assert_allclose(
        [item.box for item in labels["0"].objects], [(20, 34, 40, 46), (-4, 30, 8, 50)], atol=1e-5
    )
    np.testing.assert_allclose(labels["1"].objects[0].box, (24, 30, 36, 50), atol=1e-5)


def test_images_with_heads_alone_are_left_out() -> None:
    files = {f"JPEGImages/{name}.jpg": jpeg() for name in "ab"}
    files |= {"Annotations/a.xml": voc([("person", 1, 1, 9, 20), ("deflection", 2, 1, 6, 6)])}
    files |= {"Annotations/b.xml": voc([("deflection", 2, 1, 6, 6)])}
    assert list(street(Files(files))) == ["a"]


def test_an_object_outside_of_its_image_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"JPEGImages/a.jpg": jpeg(), "Annotations/a.xml": voc([("person", 1, 1, 9, 20), ("person", 40, 1, 60, 6)])}
    write_voc_folder(Files(files), street(Files(files)), tmp_path)
    root = defusedxml.ElementTree.parse(tmp_path / "Annotations" / "a.xml").getroot()
    assert [item.findtext("bndbox/xmax") for item in root.iter("object")] == ["9"]
    assert "1 objects" in capsys.readouterr().out


def test_the_table_holds_every_figure_and_the_mean_of_those_that_there_are(tmp_path: Path) -> None:
    for name, small in (("bccd", -1.0), ("masks", 0.25)):
        figures = {"AP": 0.5, "AP50": 0.75, "AP75": 0.5, "APs": small, "VOC07 mAP": 0.75}
        own_data.write_record(
            tmp_path / name, {"train": [], "seconds": 90.0, "processor": 120.0, "resumed": False, "val": figures}
        )
    table = own_data.table(tmp_path, ["bccd", "masks", "street"], "val")
    assert "| bccd | 50.0 | 75.0 | 50.0 | - | 75.0 | 1.5 | 2.0 |" in table
    assert "| mean | 50.0 | 75.0 | 50.0 | 25.0 | 75.0 | | |" in table


class CommandLine:
    """Instead of `ssd`: remembers what it was asked, and writes the figures of an evaluation."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, arguments: list[str], _log: Path) -> None:
        self.calls.append(list(arguments))
        if arguments[0] == "evaluate":
            protocol = arguments[arguments.index("--protocol") + 1]
            figures = {"AP": 0.5, "AP50": 0.7, "AP75": 0.6, "APs": None} if protocol == "coco" else {}
            Path(arguments[-1]).write_text(json.dumps({"protocol": protocol, "mAP": 0.8, **figures}))


def run_options(tmp_path: Path, **changes: object) -> argparse.Namespace:
    values = {"data": Path("sets"), "out": tmp_path, "minutes": 6.0, "threads": 1, "split": "val", **changes}
    return argparse.Namespace(**values)


def test_a_set_is_trained_once_and_judged_once_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command_line = CommandLine()
    monkeypatch.setattr(own_data, "ssd", command_line)
    for split in ("val", "val", "test"):
        own_data.run("bccd", run_options(tmp_path, split=split), ["--seed", "1"])
    verbs = [call[0] for call in command_line.calls]
    assert verbs == ["train", "evaluate", "evaluate", "evaluate", "evaluate"]
    assert command_line.calls[0] == [
        *["train", str(Path("sets/bccd")), "--epochs", "20", "--threads", "1", "--seed", "1"],
        *["--out", str(tmp_path / "bccd" / "run")],
    ]
    expected = {"AP": 0.5, "AP50": 0.7, "AP75": 0.6, "APs": None, "VOC07 mAP": 0.8}
    assert own_data.read_record(tmp_path / "bccd")["test"] == expected


def test_a_run_with_other_options_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_data, "ssd", CommandLine())
    own_data.run("bccd", run_options(tmp_path), [])
    with pytest.raises(SystemExit, match="another --out"):
        own_data.run("bccd", run_options(tmp_path, minutes=12.0), [])


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command_line = CommandLine()
    monkeypatch.setattr(own_data, "ssd", command_line)
    (tmp_path / "bccd" / "run" / "checkpoints").mkdir(parents=True)
    own_data.run("bccd", run_options(tmp_path), [])
    assert command_line.calls[0][-1] == "--resume"
    assert own_data.read_record(tmp_path / "bccd")["resumed"] is True


def test_detections_of_torchvision_become_ours_with_labels_from_one_on() -> None:
    def model(images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        boxes = np.array([[1.0, 2.0, 3.0, 4.0]]) * len(images)
        return [{"boxes": boxes, "labels": np.array([2]), "scores": np.array([0.5])}]

    recorder = Recorder(model)
    recorder([np.zeros((3, 4, 4))])
    assert document(recorder.detections, ["000007"], ["cat", "dog"]) == {
        "images": [{"file": "000007.jpg", "detections": [{"box": [1, 2, 3, 4], "label": "dog", "score": 0.5}]}]
    }
