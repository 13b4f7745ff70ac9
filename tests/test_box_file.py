"""Default boxes that a file hands on from `ssd boxes` to `ssd train`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from singleshot.errors import RequestError
from singleshot.spec import MapBoxes
from singleshot.train.box_file import with_boxes_of
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
DESIGNED = LITE.with_maps(("block7_expand", "last"), (MapBoxes((20,), (), (0.5,), flip=False), MapBoxes((90,), (180,))))


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_design_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"given": {"spec": asdict(LITE)}, "designed": {"spec": asdict(DESIGNED)}, "curve": []}
    path = written(tmp_path / "boxes.json", content)
    assert with_boxes_of(path, LITE) == DESIGNED
    others = replace(LITE, class_names=("a", "b", "c"))
    assert with_boxes_of(path, others) == replace(DESIGNED, class_names=others.class_names)
    del content["designed"]
    assert with_boxes_of(written(path, content), LITE) == LITE


@pytest.mark.parametrize(
    "other",
    [
        SSD300_VGG16,
        LITE.with_input_size(300, 300),
        replace(LITE, width=0.5),
    ],
)
def test_boxes_of_another_detector_are_refused(tmp_path: Path, other: object) -> None:
    path = written(tmp_path / "boxes.json", {"designed": {"spec": asdict(DESIGNED)}})
    with pytest.raises(RequestError, match=r"ssdlite320-mobilenetv2 of 320x320, and .* is to be trained"):
        with_boxes_of(path, other)  # type: ignore[arg-type]


def _without_sizes(spec: dict[str, Any]) -> None:
    spec["boxes"]["maps"][0]["min_sizes"] = []


def _unknown_field(spec: dict[str, Any]) -> None:
    spec["more"] = 1


def _too_many(spec: dict[str, Any]) -> None:
    spec["boxes"]["maps"][0]["min_sizes"] = list(range(1, 1000))


@pytest.mark.parametrize(
    ("change", "said"), [(_without_sizes, "above 0"), (_unknown_field, "more"), (_too_many, "0 .. 100")]
)
def test_boxes_that_cannot_be_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    spec = json.loads(json.dumps(asdict(DESIGNED)))
    change(spec)
    with pytest.raises(RequestError, match=said):
        with_boxes_of(written(tmp_path / "boxes.json", {"designed": {"spec": spec}}), LITE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("[1]", "no default boxes"),
        ('{"designed": 3}', "no default boxes"),
        ('{"designed": {"boxes": 3}}', "no default boxes"),
        ('{"designed": {"spec": 3}}', "not valid"),
        ('{"designed": {"spec": {"width": NaN}}}', "NaN"),
        ("[" * 100_000, "nested"),
    ],
)
def test_other_files_are_refused_in_a_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        with_boxes_of(written(tmp_path / "boxes.json", content), LITE)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        with_boxes_of(tmp_path / "none.json", LITE)
    with pytest.raises(RequestError, match="no ordinary file"):
        with_boxes_of(tmp_path, LITE)
