from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from data_fixtures import coco, coco_content, voc, xml
from golden import SHARED, needs_shared
from singleshot.cli.data import app
from singleshot.data.recognise import open_data
from singleshot.data.stats import stats, write_stats
from singleshot.data.stats_plots import box_plots, class_plot, contact_sheet

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("classes.png", "boxes.png", "contact_sheet.png", "stats.json")


def small(tmp_path: Path) -> Path:
    objects = [("cat", (0, 0, 8, 2)), ("cat", (0, 0, 4, 4)), ("dog", (0, 0, 40, 30)), ("dog", (5, 5, 5, 5))]
    return voc(tmp_path / "v", {"a": xml(objects, difficult=(2,)), "b": [], "c": [("cat", (0, 0, 8, 2))]})


def test_numbers_by_hand(tmp_path: Path) -> None:
    found = stats(open_data(small(tmp_path)))
    assert (found["images"], found["boxes"], found["background_images"]) == (3, 5, 1)
    assert (found["difficult"], found["crowd"], found["bad_boxes"]) == (1, 0, {"zero area": 1})
    assert found["classes"] == {
        "cat": {"boxes": 3, "images": 2, "pictures": 2},
        "dog": {"boxes": 2, "images": 1, "pictures": 1},
    }
    assert found["size_pixels"]["p0"] == found["size_pixels"]["p50"] == 4
    assert found["size_pixels"]["p100"] == round(np.sqrt(1200), 4)
    assert found["size_relative"]["p100"] == 1
    assert (found["aspect_ratio"]["p0"], found["aspect_ratio"]["p100"]) == (1, 4)
    assert (found["boxes_per_image"]["p0"], found["boxes_per_image"]["p100"]) == (0, 4)
    old = {"pictures": "images", "background_pictures": "background_images", "boxes_per_picture": "boxes_per_image"}
    assert {name: found[name] for name in old} == {name: found[new] for name, new in old.items()}
    assert found["layout"] == found["format"] == "voc"


def test_sets_without_sizes_or_usable_boxes(tmp_path: Path) -> None:
    found = open_data(voc(tmp_path / "v", {"a": xml([("cat", (5, 5, 5, 5))], size=None)}))
    numbers = stats(found)
    assert numbers["size_pixels"]["p50"] is None
    assert numbers["size_relative"]["p50"] is None
    assert set(write_stats(found, tmp_path / "out")) == set(numbers)


def test_crowd_is_counted_apart(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0] |= {"iscrowd": 1, "bbox": [0, 0, 40, 30]}
    found = stats(open_data(coco(tmp_path / "c", content)))
    assert (found["crowd"], found["difficult"]) == (1, 0)
    assert found["size_pixels"]["p100"] == round(np.sqrt(200), 4)


def test_images_are_written_and_repeatable(tmp_path: Path) -> None:
    found = open_data(small(tmp_path))
    (found.path(2)).write_bytes(b"damaged")  # the sheet says so and goes on
    write_stats(found, tmp_path / "out")
    contact_sheet(found, rng=np.random.default_rng(0)).savefig(tmp_path / "again.png")
    assert (tmp_path / "out/contact_sheet.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    with Image.open(tmp_path / "again.png") as sheet:
        assert min(sheet.size) > 200


def test_names_that_plots_could_misread(tmp_path: Path) -> None:
    found = open_data(voc(tmp_path / "v", {"a$b": [("x$_{y", (1, 1, 9, 9)), ("[red]", (1, 1, 9, 9))]}))
    write_stats(found, tmp_path / "out")


def test_many_classes_are_summed_up(tmp_path: Path) -> None:
    found = open_data(voc(tmp_path / "v", {"a": [(f"class{i:03}", (1, 1, 9, 9)) for i in range(60)]}))
    labels = [label.get_text() for label in class_plot(stats(found)).axes[0].get_yticklabels()]
    assert len(labels) == 41
    assert labels[-1] == "20 other classes"


def test_figures_hold_what_they_say(tmp_path: Path) -> None:
    found = open_data(small(tmp_path))
    bars = [bar.get_width() for bar in class_plot(stats(found)).axes[0].patches]
    assert bars == [3, 2]
    assert len(box_plots(found).axes) == 4
    sheet = contact_sheet(found, rng=np.random.default_rng(0))
    assert sum(len(axes.patches) for axes in sheet.axes) == 5
    assert len(sheet.axes) == 3


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(small(tmp_path))
    arguments = ["stats", root, "--out", str(tmp_path / "out"), "--json", str(tmp_path / "n.json")]
    assert app(arguments, result_action="return_value") == 0
    out = capsys.readouterr().out
    assert "3 images (1 without objects), 5 boxes (1 difficult, 0 crowd)" in out
    assert "zero area: 1 boxes" in out
    assert json.loads((tmp_path / "n.json").read_text()) == json.loads((tmp_path / "out/stats.json").read_text())
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(FILES)


@needs_shared
def test_shared_set() -> None:
    found = stats(open_data(SHARED / "data/bccd", headers=False))
    assert found["boxes"] == 4888
    assert found["classes"]["Platelets"]["boxes"] == 361
    assert found["bad_boxes"] == {"zero area": 2}
