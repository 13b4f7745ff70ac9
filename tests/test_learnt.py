"""What a model folder remembers of the images that the model learnt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from singleshot.data.image_hashes import ImageHashes
from singleshot.errors import HashError, ModelError
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.variants import SSD300_VGG16
from singleshot.weights import learnt as learnt_module
from singleshot.weights.folder import Export, read_folder, save_export, save_folder
from singleshot.weights.learnt import LearntImages, format_learnt, parse_learnt

if TYPE_CHECKING:
    from pathlib import Path


def hashes(*pairs: tuple[int, int]) -> ImageHashes:
    """From pairs of content and perceptual hash."""
    return ImageHashes(*np.array(pairs, np.uint64).reshape(-1, 2).T.copy())


LEARNT = LearntImages(
    hashes((1, 0xFF00), (2, 0)),
    hashes((3, 0)),
    hashes((4, 0xFF << 40)),
    {"trained": "a, split train", "ancestors": "b"},
)


def test_each_image_is_counted_once_by_what_it_is_to_the_model() -> None:
    judged = hashes(
        (1, 0xFF00),  # the very file
        (2, 1),  # the very file, whose picture shows too little
        (9, 0xFF0F),  # looks the same: 4 bits
        (9, 0xFF1F),  # 5 bits
        (4, 0),  # learnt by the model before
        (9, 0x7F << 40),  # a picture like one of those
        (3, 0xFF00),  # a validation image that looks like a training image
        (3, 0),  # a validation image
        (0, 0),  # cannot be read
    )
    expected = LearntOverlap(9, 2, 2, 2, 1, "a, split train", "b")
    assert LEARNT.overlap(judged) == expected
    assert LearntImages(hashes((0, 0))).overlap(hashes((0, 0))) == LearntOverlap(1)


def test_it_is_told_in_a_sentence_for_each_kind() -> None:
    lines = list(LearntOverlap(2508, 1204, 1, 30, 2, "voc2007", "coco").lines())
    assert lines[0] == "1,204 of 2,508 images are in this model's training set (voc2007): the figure flatters"
    assert lines[1].startswith("1 of 2,508 images looks the same as one in this model's training set (voc2007)")
    assert lines[2].startswith(
        "30 of 2,508 images are in the training set of a model that this one started from (coco)"
    )
    assert "validation set" in lines[3]
    assert list(LearntOverlap(7).lines()) == []


def test_training_further_makes_ancestors_of_all_that_was_learnt() -> None:
    further = LearntImages(hashes((7, 7)), names={"trained": "c"}).starting_from(LEARNT)
    assert further.trained.content.tolist() == [7]
    assert sorted(further.ancestors.content.tolist()) == [1, 2, 4]  # what was only validated on, was not learnt
    assert further.names == {"trained": "c", "ancestors": "b; a, split train"}
    alone = LearntImages(hashes((7, 7)))
    assert alone.starting_from(None) is alone


def test_a_file_is_read_as_it_was_written_and_says_nothing_of_the_order() -> None:
    content = format_learnt(LEARNT)
    read = parse_learnt(content, "file")
    assert read.trained.content.tolist() == [1, 2]
    assert read.trained.perceptual.tolist() == [0xFF00, 0]
    assert read.ancestors.perceptual.tolist() == [0xFF << 40]
    assert read.names == LEARNT.names
    turned = LearntImages(hashes((2, 0), (1, 0xFF00), (2, 0), (0, 0)), LEARNT.validated, LEARNT.ancestors, LEARNT.names)
    assert format_learnt(turned) == content


NAMES = {"names": "{}"}
GOOD = {name: np.zeros((1, 2), np.uint64) for name in ("trained", "validated", "ancestors")}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "safetensors"),
        (b"\xff" * 100, "safetensors"),
        (save(GOOD), "metadata"),
        (save(GOOD, metadata={"names": "[]"}), "list"),
        (save(GOOD, metadata={"names": "{"}), "JSON"),
        (save({"trained": GOOD["trained"]}, metadata=NAMES), "validated"),
        (save({**GOOD, "trained": np.zeros((1, 2), np.int64)}, metadata=NAMES), "int64"),
        (save({**GOOD, "trained": np.zeros((1, 3), np.uint64)}, metadata=NAMES), r"\(1, 3\)"),
        (save({**GOOD, "trained": np.zeros(2, np.uint64)}, metadata=NAMES), r"\(2,\)"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        parse_learnt(content, "learnt.safetensors")


def test_a_huge_header_is_refused_and_long_names_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    content = save(GOOD, metadata={"names": json.dumps({"trained": "x" * 1000})})
    assert len(parse_learnt(content, "file").names["trained"]) == 200
    monkeypatch.setattr(learnt_module, "LARGEST_HEADER", 1000)
    with pytest.raises(ModelError, match="1,000"):
        parse_learnt(content, "file")


def test_a_name_is_told_in_one_line() -> None:
    empty = np.zeros((0, 2), np.uint64)
    names = {"names": json.dumps({"trained": "voc\n0 of 12 images\r\tare"})}
    learnt = parse_learnt(save(dict.fromkeys(learnt_module.ROLES, empty), metadata=names), "here")
    assert learnt.names == {"trained": "voc 0 of 12 images are"}


def test_a_folder_keeps_it_like_any_other_file(tmp_path: Path) -> None:
    tensors = {"a": np.ones(2, np.float32)}
    save_folder(tmp_path / "old", SSD300_VGG16, tensors, card="")
    assert read_folder(tmp_path / "old").learnt() is None
    save_folder(tmp_path / "m", SSD300_VGG16, tensors, card="", learnt=LEARNT)
    learnt = read_folder(tmp_path / "m").learnt()
    assert learnt is not None
    assert learnt.validated.content.tolist() == [3]
    export = Export("onnx", "fp32", ("model.onnx",))
    save_export(tmp_path / "e", SSD300_VGG16, {"model.onnx": b"x"}, export=export, card="", learnt=learnt)
    exported = read_folder(tmp_path / "e").learnt()
    assert exported is not None
    assert exported.trained.content.tolist() == [1, 2]
    save_folder(tmp_path / "m", SSD300_VGG16, tensors, card="")
    assert not (tmp_path / "m/learnt.safetensors").exists()


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    save_folder(tmp_path, SSD300_VGG16, {"a": np.ones(2, np.float32)}, card="", learnt=LEARNT)
    file = tmp_path / "learnt.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(HashError, match=r"learnt\.safetensors"):
        read_folder(tmp_path).learnt()
    with pytest.raises(HashError, match=r"learnt\.safetensors"):
        read_folder(tmp_path).verify()


def test_the_names_are_plain_text_in_the_file() -> None:
    content = format_learnt(LEARNT)
    size = int.from_bytes(content[:8], "little")
    names = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["names"])
    assert names == {"trained": "a, split train", "ancestors": "b"}
