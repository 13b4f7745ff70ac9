"""Adapting default boxes: what is kept, what changes, and what the real small objects get."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from golden import SHARED, needs_shared
from ground_truth_sets import ground_truth_set, squares, voc_set
from singleshot.box_search import adapt as adapting
from singleshot.box_search.adapt import ENOUGH, FINER_SOURCES, adapt
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.spec import ModelSpec
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, SSD300_VGG16_FULL, SSDLITE320_MOBILENETV2, VARIANTS

if TYPE_CHECKING:
    from singleshot.types import Annotations

fit = partial(adapt, map_sizes_hw=grid_sizes, below=ENOUGH)

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))


def dots_and_plates(side: float, dots: int = 100) -> Annotations:
    """Dots of this side in a 320 image beside plates that every shipped box set covers."""
    boxes = np.concatenate([squares(dots, side, seed=1), squares(100, 120, seed=2)])
    return ground_truth_set(boxes, [0] * dots + [1] * 100)


def check_form(spec: ModelSpec, shipped: ModelSpec) -> None:
    """What every adapted spec promises: whole pixels, small to large from fine to coarse, maps that exist."""
    sizes = [size for boxes in spec.boxes.maps for size in boxes.min_sizes]
    assert sizes == sorted(set(sizes))
    assert all(size == int(size) >= 1 for boxes in spec.boxes.maps for size in (*boxes.min_sizes, *boxes.max_sizes))
    grids = grid_sizes(spec)
    assert [height * width for height, width in grids] == sorted((h * w for h, w in grids), reverse=True)
    assert spec.sources[-len(shipped.sources) :] == shipped.sources
    assert spec.boxes.maps[-1].min_sizes == shipped.boxes.maps[-1].min_sizes


def test_boxes_that_cover_the_data_are_kept() -> None:
    found = fit(LITE, dots_and_plates(100))
    assert not found.changed
    assert found.spec is LITE
    assert found.after is found.before
    assert "kept: every class is covered to 95% or more" in found.reason


def test_boxes_that_cover_a_third_of_each_class_are_kept_unless_more_is_asked() -> None:
    data = dots_and_plates(44)
    assert 1 / 3 <= fit(LITE, data).before.shares[0] < 0.5
    found = adapt(LITE, data, map_sizes_hw=grid_sizes)
    assert not found.changed
    assert "kept: every class is covered to 33% or more" in found.reason
    assert adapt(LITE, dots_and_plates(20), map_sizes_hw=grid_sizes).changed


def test_smaller_objects_are_met_by_respaced_sizes_where_that_is_enough() -> None:
    found = fit(LITE, dots_and_plates(42))
    assert found.before.shares[0] < 0.5
    assert found.changed
    assert found.spec.sources == LITE.sources
    assert found.after.shares.min() >= 0.95
    check_form(found.spec, LITE)


def test_small_objects_get_a_finer_map() -> None:
    found = fit(LITE, dots_and_plates(20))
    assert found.before.shares.tolist() == [0, 1]
    assert found.spec.sources == ("block7_expand", *LITE.sources)
    assert found.after.shares.min() >= 0.95
    assert "source map block7_expand added" in found.reason
    assert "dot 0% -> " in found.reason
    check_form(found.spec, LITE)


def test_stride_four_is_the_last_resort() -> None:
    found = fit(LITE, dots_and_plates(9))
    assert found.spec.sources[0] == "block4_expand" or found.after.shares[0] < 0.8
    vgg = replace(SSD300_VGG16, class_names=("dot", "plate"))
    found = fit(vgg, dots_and_plates(9))
    assert found.spec.sources[0] == "conv3_3"
    assert found.spec.normalised == ("conv3_3", "conv4_3")
    assert found.after.shares[0] >= 0.8
    check_form(found.spec, vgg)


def test_one_class_among_many_is_rescued() -> None:
    """With 40 classes the mean hardly moves, and the lost class still counts."""
    names = tuple(f"class{i}" for i in range(40))
    boxes = np.concatenate([squares(30, 22, seed=3), squares(39 * 30, 110, seed=4)])
    labels = np.repeat(np.arange(40), 30)
    found = fit(replace(LITE, class_names=names), ground_truth_set(boxes, labels, names))
    assert found.before.shares[0] == 0
    assert found.after.shares.min() >= 0.9


def test_a_class_of_a_few_ground_truth_does_not_decide() -> None:
    assert not fit(LITE, dots_and_plates(20, dots=19)).changed
    assert fit(LITE, dots_and_plates(20, dots=20)).changed


def test_where_all_classes_are_rare_all_decide() -> None:
    rare = dots_and_plates(20).subset([0])
    rows = [*range(5), *range(100, 119)]
    few = ground_truth_set(rare.boxes_xyxy[rows], rare.labels[rows])
    assert fit(LITE, few).after.shares[0] >= 0.8


def test_without_ground_truth_nothing_changes() -> None:
    found = fit(LITE, ground_truth_set([], []))
    assert not found.changed
    assert "no ground-truth boxes" in found.reason


def test_adapting_twice_changes_nothing_more() -> None:
    once = fit(LITE, dots_and_plates(20))
    assert not fit(once.spec, dots_and_plates(20)).changed


def test_large_sets_are_judged_by_a_sample_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    one = dots_and_plates(100)
    many = one.subset([0] * 10)
    monkeypatch.setattr(adapting, "MOST_GROUND_TRUTH", 500)
    found = fit(LITE, many)
    assert found.before.ground_truth.sum() == 600
    assert "(judged by 3 of 10 images)" in found.reason


def test_an_input_that_is_not_square() -> None:
    wide = LITE.with_input_size(240, 480)
    found = fit(wide, dots_and_plates(20))
    assert found.changed
    assert found.after.shares.min() >= 0.9
    check_form(found.spec, wide)


@pytest.mark.parametrize(
    "shipped", [SSD300_VGG16, SSD300_VGG16_FULL, SSD300_MOBILENETV1, SSDLITE320_MOBILENETV2], ids=lambda s: s.name
)
def test_the_finer_maps_exist_in_the_networks(shipped: ModelSpec) -> None:
    spec = shipped
    for name, stride in zip(FINER_SOURCES[spec.backbone], (8, 4), strict=True):
        if name not in spec.sources:
            spec = adapting.with_source(spec, name)
        height, width = grid_sizes(spec)[0]
        assert (round(spec.input_size_hw[0] / height), round(spec.input_size_hw[1] / width)) == (stride, stride)
    assert len(SSD(replace(spec, width=0.25)).default_boxes) > 10_000


@needs_shared
@pytest.mark.parametrize("name", ["ssdlite320-mobilenetv2", "ssd300-vgg16"])
def test_the_platelets_of_bccd_are_covered(name: str) -> None:
    """Platelets are about 20 x 26 pixels in a 320 image: SSDLite's smallest box is 64."""
    data = voc_set(SHARED / "data" / "bccd", "train")
    spec = replace(VARIANTS[name], class_names=data.class_names)
    found = fit(spec, data)
    platelets = data.class_names.index("Platelets")
    if name == SSDLITE320_MOBILENETV2.name:
        assert found.before.shares[platelets] < 0.01
    assert found.after.shares.min() >= 0.97
    check_form(found.spec, spec)
