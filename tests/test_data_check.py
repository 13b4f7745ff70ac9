from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from data_fixtures import coco, coco_content, image, voc, xml, yolo
from golden import SHARED, needs_shared
from singleshot.cli.data import app
from singleshot.data.check import CheckReport, check
from singleshot.data.faults import CONSEQUENCES
from singleshot.errors import DataError, RequestError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

CAT = ("cat", (1, 2, 11, 22))


def found(report: CheckReport) -> list[tuple[str, str, int]]:
    return [(fault.kind, fault.file.rpartition("/")[2], fault.number) for fault in report.faults]


def run(*arguments: object) -> int:
    return app([str(argument) for argument in arguments], result_action="return_value", exit_on_error=False)


def test_a_sound_set_has_no_faults(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": [], "c": [CAT]}, {"train": ["a", "b"], "test": ["c"]})
    report = check(root)
    assert report == CheckReport(3, 2, {"test": 1, "train": 2}, ())


def test_bad_boxes_are_found_with_their_numbers(tmp_path: Path) -> None:
    boxes = [CAT, ("cat", ("nan", 1, 2, 3)), ("cat", (9, 1, 2, 3)), ("cat", (5, 1, 5, 9)), ("cat", (50, 1, 60, 9)),
             ("cat", (-3, 1, 5, 9))]  # fmt: skip
    report = check(voc(tmp_path / "v", {"a": boxes}))
    kinds = ["not finite", "inverted", "zero area", "outside", "partly outside"]
    assert found(report) == [(kind, "a.png", number) for number, kind in enumerate(kinds, 2)]
    assert str(report.faults[1]) == "JPEGImages/a.png, object 3: cat [9, 1, 2, 3] in an image of 40x30"


def test_boxes_are_judged_by_the_real_size(tmp_path: Path) -> None:
    report = check(voc(tmp_path / "v", {"a": xml([("cat", (1, 1, 45, 20))], size=(50, 30))}))
    assert found(report) == [("wrong size", "a.png", 0), ("partly outside", "a.png", 1)]


@pytest.mark.parametrize("damage", ["truncated", "empty", "html", "missing", "exotic"])
def test_images_that_cannot_be_used(tmp_path: Path, damage: str) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": [CAT]})
    file = root / "JPEGImages/b.png"
    content = file.read_bytes()
    replacements = {"truncated": content[: len(content) // 2], "empty": b"", "html": b"<html>", "exotic": b"II\xbc\x01"}
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(replacements[damage])
    (fault,) = check(root).faults
    assert fault.kind == ("missing image" if damage == "missing" else "unreadable image")
    assert "/b." in fault.file
    assert fault.stops_training


def test_copies_and_overlapping_splits(tmp_path: Path) -> None:
    root = voc(
        tmp_path / "v",
        {name: [CAT] for name in "abcdef"},
        {"train": ["a", "b", "d"], "val": ["c"], "trainval": ["a", "b", "c", "d"], "test": ["e", "f", "d"]},
    )
    shutil.copy(root / "JPEGImages/a.png", root / "JPEGImages/b.png")
    shutil.copy(root / "JPEGImages/c.png", root / "JPEGImages/e.png")
    report = check(root)
    assert {(fault.kind, fault.file[-5:], fault.detail) for fault in report.faults} == {
        ("duplicate image", "b.png", "the same bytes as JPEGImages/a.png"),
        ("in two splits", "d.png", "in train and in test"),
        ("in two splits", "d.png", "in trainval and in test"),
        ("in two splits", "e.png", "in val and in test as JPEGImages/c.png"),
        ("in two splits", "e.png", "in trainval and in test as JPEGImages/c.png"),
    }
    assert not any(fault.stops_training for fault in report.faults)


def test_a_image_that_two_ids_share(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][1]["file_name"] = "p0.png"
    (fault,) = check(coco(tmp_path / "c", content)).faults
    assert (fault.kind, fault.detail) == ("duplicate image", "listed twice")


def test_unknown_classes_when_names_are_given(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT, ("dgo", (1, 1, 5, 5))]})
    assert found(check(root, class_names=["cat", "dog"])) == [("unknown class", "a.png", 2)]
    assert found(check(root)) == []


def test_faults_of_the_readers_are_in_the_report(tmp_path: Path) -> None:
    content = coco_content()
    content["images"].append({"id": 11, "file_name": "other.png"})
    content["annotations"].append({"id": 102, "image_id": 11, "category_id": 9, "bbox": [1, 2, 3, 4]})
    report = check(coco(tmp_path / "c", content))
    assert found(report) == [("duplicate id", "instances_train2017.json", 0), ("unknown class", "p1.png", 2)]
    labels = {"a": "0 0.5 0.5 0.1 0.1\n3 0.5 0.5 1 1\n0 0.9 0.5 0.4 0.1"}
    report = check(yolo(tmp_path / "y", labels, yaml="train: images\nnames: [cat]\n"))
    assert found(report) == [("unknown class", "a.txt", 2), ("partly outside", "a.png", 3)]


def test_a_image_in_no_split_is_looked_at_too(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": [("cat", (5, 5, 5, 5))]}, {"train": ["a"]})
    assert found(check(root)) == [("zero area", "b.png", 1)]
    assert found(check(root, split="train")) == []
    with pytest.raises(UnknownNameError, match="train"):
        check(root, split="trian")


def test_several_sets_are_named(tmp_path: Path) -> None:
    one, two = voc(tmp_path / "v", {"a": [CAT]}), voc(tmp_path / "w", {"a": [("cat", (5, 5, 5, 5))]})
    report = check([one, two])
    assert (report.images, report.boxes) == (2, 2)
    assert report.faults[0].file == f"{two}: JPEGImages/a.png"


def test_empty_and_absent_sets(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    with pytest.raises(DataError, match="empty"):
        check(tmp_path / "x.csv")
    with pytest.raises(RequestError, match="no such file"):
        check(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no data set"):
        check([])


def test_animated_images_are_decoded(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    image(tmp_path / "b.png")
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "x.csv").write_text("a.gif,1,1,5,5,cat\nb.png,1,1,5,5,cat\n")
    (fault,) = check(tmp_path / "x.csv").faults
    assert (fault.kind, fault.file) == ("several frames", "a.gif")


def test_progress_counts_every_image_once(tmp_path: Path) -> None:
    """Also an image of two splits; the total is known before the first is decoded."""
    root = voc(tmp_path / "v", {name: [CAT] for name in "abc"}, {"train": ["a", "b"], "trainval": ["a", "b", "c"]})
    steps: list[tuple[int, int]] = []
    check(root, on_image=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_every_kind_has_a_consequence() -> None:
    assert all(text.startswith("training ") for text in CONSEQUENCES.values())


def test_command_shows_the_first_twenty_and_writes_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "v", {"a": [("cat", (i, 5, i, 9)) for i in range(25)]})
    assert run("check", root, "--json", tmp_path / "out/report.json") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 images, 25 boxes (no split 1)"
    assert lines[1] == "zero area: 25 (training drops the box)"
    assert lines[2] == "  JPEGImages/a.png, object 1: cat [0, 5, 0, 9] in an image of 40x30"
    assert lines[-2:] == ["  and 5 more (--json lists all)", "25 faults"]
    written = json.loads((tmp_path / "out/report.json").read_text())
    assert written["counts"] == {"zero area": 25}
    assert written["faults"][24]["object"] == 25
    assert run("check", voc(tmp_path / "w", {"a": [CAT]})) == 0
    for verb in ("check", "stats"):
        with pytest.raises(RequestError, match=f"which data.*ssd data {verb} DATA"):
            run(verb)


@needs_shared
def test_the_two_degenerate_boxes_of_bccd(tmp_path: Path) -> None:
    assert run("check", SHARED / "data/bccd", "--json", tmp_path / "bccd.json") == 1
    written = json.loads((tmp_path / "bccd.json").read_text())
    assert written["images"] == written["pictures"]  # the old name
    assert (written["images"], written["boxes"], written["counts"]) == (364, 4888, {"zero area": 2})
    assert {(fault["file"][-9:-4], fault["object"]) for fault in written["faults"]} == {("00343", 4), ("00338", 13)}
