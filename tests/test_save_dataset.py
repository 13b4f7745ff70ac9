from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from singleshot.commands.save_dataset import save_dataset
from singleshot.data.recognise import open_data, splits
from singleshot.decode import decode_image
from singleshot.errors import DataError, RequestError

torch = pytest.importorskip("torch")

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["dog", "cat"]
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
TARGET = {"boxes": [[1, 2, 9.5, 8]], "labels": [1]}


class Items(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.mark.parametrize(
    ("image", "remark"),
    [
        (PIXELS, ""),
        (Image.fromarray(PIXELS), ""),
        (torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()), ""),
        (torch.from_numpy(PIXELS.transpose(2, 0, 1) / np.float32(255)), "1 images of floats"),
    ],
)
def test_what_torchvisions_detectors_take_comes_back(tmp_path: Path, image: Any, remark: str) -> None:
    target = {"boxes": torch.tensor(TARGET["boxes"]), "labels": torch.tensor(TARGET["labels"]), "image_id": 3}
    remarks = save_dataset(Items((image, target)), tmp_path / "set", class_names=NAMES)
    data = open_data(tmp_path / "set")
    assert data.class_names == ("dog", "cat")
    assert data.boxes_xyxy.tolist() == [[1, 2, 9.5, 8]]
    assert data.labels.tolist() == [1]
    np.testing.assert_array_equal(decode_image(data.path(0)), PIXELS)
    assert remark in " ".join(remarks)
    assert remarks[-1] == "classes without an object: dog"


def test_splits_and_background(tmp_path: Path) -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    train, val = Items((PIXELS, TARGET), (PIXELS, nothing)), Items((PIXELS, TARGET))
    save_dataset({"train": train, "val": val}, tmp_path, class_names=NAMES)
    assert splits(tmp_path) == {"train": 2, "val": 1}
    assert open_data(tmp_path, split="train").starts.tolist() == [0, 1, 1]


def test_labels_may_count_from_one(tmp_path: Path) -> None:
    save_dataset(Items((PIXELS, TARGET)), tmp_path, class_names=NAMES, first_label=1)
    data = open_data(tmp_path)
    assert data.class_names[data.labels[0]] == "dog"


@pytest.mark.parametrize(
    ("item", "token"),
    [
        ((PIXELS, {**TARGET, "labels": [2]}), "first_label=1"),
        ((PIXELS, {**TARGET, "labels": [-1]}), "-1"),
        ((PIXELS, {**TARGET, "labels": [0.5]}), "whole"),
        ((PIXELS, {**TARGET, "labels": [0, 1]}), "2 labels"),
        ((PIXELS, {**TARGET, "boxes": [[1, 2, 3]]}), "expected"),
        ((PIXELS, {**TARGET, "boxes": [[1, 2, 3, float("nan")]]}), "finite"),
        ((PIXELS, {"boxes": [[1, 2, 3, 4]]}), "labels"),
        (PIXELS, "got a ndarray"),
        ((PIXELS, TARGET, 3), "tuple of 3"),
        ((PIXELS * 2.0, TARGET), "item 0.*float64"),
        ((PIXELS, {"boxes": [], "labels": []}), "not one labelled"),
    ],
)
def test_an_item_that_is_none_is_named_and_nothing_is_left(tmp_path: Path, item: Any, token: str) -> None:
    with pytest.raises(DataError, match=token):
        save_dataset(Items(item), tmp_path / "set", class_names=NAMES)
    assert list(tmp_path.iterdir()) == []


def test_boxes_of_which_the_corners_are_exchanged_are_counted(tmp_path: Path) -> None:
    target = {"boxes": [[1, 2, 9, 8], [9, 2, 1, 8], [1, 2, 5, 2]], "labels": [0, 1, 1]}
    (remark,) = save_dataset(Items((PIXELS, target)), tmp_path, class_names=NAMES)
    assert "boxes without area: 2" in remark


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RequestError, match="not empty"):
        save_dataset(Items((PIXELS, TARGET)), tmp_path, class_names=NAMES)
