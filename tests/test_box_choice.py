from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ground_truth_sets import ground_truth_set, squares
from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.ssd import SSD
from singleshot.spec import MapBoxes, ModelSpec
from singleshot.train.box_choice import on_paper_scales, with_fitting_boxes
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from pathlib import Path

    from singleshot.spec import BoxSpec

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
PAPER = (32, 64, 118, 173, 227, 282)


def smallest(boxes: BoxSpec) -> tuple[float, ...]:
    return tuple(one.min_sizes[0] for one in boxes.maps)


def chosen(spec: ModelSpec, **options: object) -> tuple[ModelSpec, list[str]]:
    """With large plates and dots of a fifth of the image, all of which the default boxes cover."""
    boxes = [(20 + i, 20, 240 + i, 240) for i in range(20)] + [(130 + i, 130, 194 + i, 194) for i in range(20)]
    data = ground_truth_set(boxes, [1] * 20 + [0] * 20)
    defaults = {"choice": "auto", "scales": "paper", "source": None}
    spec, _, lines = with_fitting_boxes(spec, data, **{**defaults, **options})  # type: ignore[arg-type]
    return spec, lines


def test_the_papers_scales_are_those_of_the_authors_script() -> None:
    assert smallest(on_paper_scales(SSD300_VGG16)) == smallest(SSD300_VGG16.boxes)
    assert smallest(on_paper_scales(LITE)) == PAPER
    lengths = [(one.max_sizes, one.boxes_per_cell) for one in on_paper_scales(LITE).maps]
    assert lengths == [((high,), 6) for high in (*PAPER[1:], 320)]
    assert len(SSD(replace(LITE, boxes=on_paper_scales(LITE)), seed=0).default_boxes) == 3234


def test_maps_of_another_kind_keep_their_sizes() -> None:
    assert on_paper_scales(SSD300_MOBILENETV1) == SSD300_MOBILENETV1.boxes


def test_boxes_that_fit_are_set_to_the_recipes_scales_and_said() -> None:
    spec, lines = chosen(LITE)
    assert smallest(spec.boxes) == PAPER
    assert any("from a tenth of the input up" in line for line in lines)
    assert "dot" in lines[0]
    assert chosen(LITE, scales="kept")[0] == LITE
    assert chosen(LITE, choice="keep")[0] == LITE


def test_boxes_that_miss_a_class_are_fitted_instead() -> None:
    data = ground_truth_set([(10 + 9 * i, 10, 19 + 9 * i, 19) for i in range(30)], [0] * 30)
    spec, _, lines = with_fitting_boxes(LITE, data, choice="auto", scales="paper", source=None)
    assert smallest(spec.boxes)[0] < 32
    assert any("default boxes adapted" in line for line in lines)


def test_trained_heads_keep_the_boxes_they_know(tmp_path: Path) -> None:
    trained = replace(LITE, boxes=on_paper_scales(LITE), class_names=("a", "b"))
    save_network(tmp_path / "model", SSD(trained, seed=0), card="")
    for scales in ("paper", "kept"):
        spec, _ = chosen(LITE, source=tmp_path / "model", scales=scales)
        assert smallest(spec.boxes) == PAPER
        assert spec.class_names == LITE.class_names
    untouched = tmp_path / "untouched"
    save_network(untouched, SSD(LITE, seed=0), card="")
    assert chosen(LITE, source=untouched)[0] == LITE


def test_boxes_on_the_papers_scales_must_cover_more_than_the_architectures_own(tmp_path: Path) -> None:
    def sizes(side: int, **options: object) -> tuple[float, ...]:
        boxes = np.concatenate([squares(100, side, seed=1), squares(100, 120, seed=2)])
        data = ground_truth_set(boxes, [0] * 100 + [1] * 100)
        spec, _, lines = with_fitting_boxes(LITE, data, **{"choice": "auto", "source": None, **options})  # type: ignore[arg-type]
        assert any("adapted" in line for line in lines) == (smallest(spec.boxes) not in (PAPER, smallest(LITE.boxes)))
        return smallest(spec.boxes)

    fitted = sizes(23, scales="paper")  # 31% of the dots
    assert len(fitted) > len(PAPER)
    assert fitted == sizes(23, scales="kept"), "derived from the architecture's own boxes, wherever one starts"
    assert sizes(24, scales="paper") == PAPER  # 48%
    save_network(tmp_path / "model", SSD(replace(LITE, boxes=on_paper_scales(LITE)), seed=0), card="")
    assert sizes(23, scales="kept", source=tmp_path / "model") == fitted
    assert sizes(23, scales="kept", source=tmp_path / "model", choice="keep") == PAPER


def test_boxes_of_trained_heads_grow_with_the_input(tmp_path: Path) -> None:
    save_network(tmp_path / "model", SSD(replace(LITE, boxes=on_paper_scales(LITE)), seed=0), card="")
    spec, _ = chosen(LITE.with_input_size(640, 640), source=tmp_path / "model", scales="kept")
    assert smallest(spec.boxes) == tuple(2 * size for size in PAPER)


def test_a_file_of_a_base_brings_no_boxes(tmp_path: Path) -> None:
    assert smallest(chosen(LITE, source=tmp_path / "base.npz")[0].boxes) == PAPER


def test_a_file_of_boxes_decides(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    designed = LITE.with_maps(("last",), (MapBoxes((90,), (180,)),))
    path.write_text(json.dumps({"designed": {"spec": asdict(designed)}}))
    save_network(tmp_path / "model", SSD(LITE, seed=0), card="")
    for source in (None, tmp_path / "model"):
        spec, lines = chosen(LITE, choice=str(path), source=source)
        assert spec == designed
        assert lines[-1] == f"default boxes of {path}"
        assert lines[1].startswith("plate: 0% of 20")


def test_another_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="'always'; known: adapt, auto, keep"):
        chosen(LITE, choice="always")
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        chosen(LITE, choice=str(tmp_path / "none.json"))
