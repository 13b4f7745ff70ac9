from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.boxes import xyxy_to_cxcywh
from singleshot.errors import RequestError
from singleshot.spec import BoxSpec, MapBoxes
from singleshot.ssd.default_boxes import caffe_default_boxes, cell_sizes, with_paper_scales
from singleshot.variants import (
    BOXES_300_COCO,
    BOXES_300_MOBILENETV1,
    BOXES_300_VOC,
    BOXES_320_LITE,
    BOXES_512_COCO,
    BOXES_512_VOC,
)

MAPS_300 = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
MAPS_512 = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
MAPS_LITE = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
MAPS_MOBILENET = [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]

# Width and height of each box of the paper's six maps: ratios 1, 2, 3, 1/2, 1/3, then the extra square.
# REFERENCE.md prints 0.41 for the extra square of the second map. That is the mean of 0.34 and 0.48; the rule that it
# states itself, sqrt(s_k s_{k+1}), gives 0.404, and its other five entries follow the rule (the mean of 0.2 and 0.34
# would be 0.27).
PAPER_SIZES = [
    [(0.20, 0.20), (0.28, 0.14), None, (0.14, 0.28), None, (0.26, 0.26)],
    [(0.34, 0.34), (0.48, 0.24), (0.59, 0.20), (0.24, 0.48), (0.20, 0.59), (0.40, 0.40)],
    [(0.48, 0.48), (0.68, 0.34), (0.83, 0.28), (0.34, 0.68), (0.28, 0.83), (0.55, 0.55)],
    [(0.62, 0.62), (0.88, 0.44), (1.07, 0.36), (0.44, 0.88), (0.36, 1.07), (0.69, 0.69)],
    [(0.76, 0.76), (1.07, 0.54), None, (0.54, 1.07), None, (0.83, 0.83)],
    [(0.90, 0.90), (1.27, 0.64), None, (0.64, 1.27), None, (0.97, 0.97)],
]
OUR_ORDER = [0, 5, 1, 3, 2, 4]  # Caffe's: square, extra square, 2, 1/2, 3, 1/3


def slow_caffe(spec, map_sizes_hw, input_size_hw):
    """PriorBox as its source reads: one box at a time."""
    height, width = input_size_hw
    out = []
    for boxes, (rows, columns) in zip(spec.maps, map_sizes_hw, strict=True):
        for y in range(rows):
            for x in range(columns):
                centre_x = (x + spec.offset) * (boxes.step or width / columns)
                centre_y = (y + spec.offset) * (boxes.step_h or boxes.step or height / rows)
                sizes = []
                for i, small in enumerate(boxes.min_sizes):
                    small = int(small) if spec.truncate_sizes else small
                    sizes.append((small, small))
                    if boxes.max_sizes:
                        large = int(boxes.max_sizes[i]) if spec.truncate_sizes else boxes.max_sizes[i]
                        sizes.append((math.sqrt(small * large),) * 2)
                    ratios = []
                    for ratio in boxes.aspect_ratios:
                        if all(abs(ratio - other) >= 1e-6 for other in [1.0, *ratios]):
                            ratios += [ratio, 1 / ratio] if boxes.flip else [ratio]
                    sizes += [(small * math.sqrt(ratio), small / math.sqrt(ratio)) for ratio in ratios]
                for w, h in sizes:
                    corners = (centre_x - w / 2, centre_y - h / 2, centre_x + w / 2, centre_y + h / 2)
                    fractions = [corner / side for corner, side in zip(corners, (width, height) * 2, strict=True)]
                    out.append([min(max(f, 0), 1) for f in fractions] if spec.clip else fractions)
    return np.array(out, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("spec", "maps", "size", "count"),
    [
        (BOXES_300_VOC, MAPS_300, 300, 8732),
        (BOXES_300_COCO, MAPS_300, 300, 8732),
        (BOXES_512_VOC, MAPS_512, 512, 24564),
        (BOXES_512_COCO, MAPS_512, 512, 24564),
        (BOXES_320_LITE, MAPS_LITE, 320, 3234),
        (BOXES_300_MOBILENETV1, MAPS_MOBILENET, 300, 1917),
    ],
)
def test_counts_of_the_variants(spec, maps, size, count):
    boxes = caffe_default_boxes(spec, maps, (size, size))
    assert boxes.shape == (count, 4)
    assert boxes.dtype == np.float32
    assert count == sum(h * w * level.boxes_per_cell for (h, w), level in zip(maps, spec.maps, strict=True))


def test_first_cell_of_ssd300_by_hand():
    """Square of 30, square of sqrt(30 * 60), 2:1 and 1:2, around (4, 4) of 300 pixels."""
    pixels = xyxy_to_cxcywh(caffe_default_boxes(BOXES_300_VOC, MAPS_300, (300, 300))[:5]) * 300
    root = math.sqrt(2)
    expected = [
        [4, 4, 30, 30],
        [4, 4, math.sqrt(1800), math.sqrt(1800)],
        [4, 4, 30 * root, 30 / root],
        [4, 4, 30 / root, 30 * root],
        [12, 4, 30, 30],  # the next cell is to the right, not below
    ]
    np.testing.assert_allclose(pixels, expected, atol=1e-4)  # float32 of numbers up to 42


def test_sizes_are_cut_to_whole_pixels_as_caffe_does():
    cut = cell_sizes(BOXES_512_VOC.maps[0], truncate=True)
    whole = cell_sizes(BOXES_512_VOC.maps[0], truncate=False)
    np.testing.assert_allclose(cut[:2, 0], [35, math.sqrt(35 * 76)], rtol=1e-6)
    np.testing.assert_allclose(whole[:2, 0], [35.84, math.sqrt(35.84 * 76.8)], rtol=1e-6)


@st.composite
def box_specs(draw):
    size = st.floats(1, 400, width=32)
    maps, map_sizes = [], []
    for _ in range(draw(st.integers(1, 3))):
        small = draw(st.lists(size, min_size=1, max_size=2))
        large = draw(st.one_of(st.just([]), st.lists(size, min_size=len(small), max_size=len(small))))
        ratios = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0, 0.5, 1.5, 2.0000001]), max_size=3))
        step, step_h = draw(st.sampled_from([None, 8.0, 30.0])), draw(st.sampled_from([None, 11.0]))
        flip = draw(st.booleans())
        maps.append(MapBoxes(tuple(small), tuple(large), tuple(ratios), step, flip=flip, step_h=step_h))
        map_sizes.append((draw(st.integers(1, 3)), draw(st.integers(1, 3))))
    spec = BoxSpec(
        tuple(maps),
        clip=draw(st.booleans()),
        offset=draw(st.sampled_from([0.0, 0.5, 0.25])),
        truncate_sizes=draw(st.booleans()),
    )
    return spec, map_sizes, (draw(st.integers(8, 500)), draw(st.integers(8, 500)))


@given(box_specs())
def test_equals_the_slow_loop(case):
    # Corners up to 100 in float32 against float64: 1e-5 relative to the largest.
    fast, slow = caffe_default_boxes(*case), slow_caffe(*case)
    assert fast.shape == slow.shape
    np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-5 * max(1, np.abs(slow).max()))


def test_a_map_of_one_cell_has_its_centre_in_the_middle_without_step():
    boxes = caffe_default_boxes(BoxSpec((MapBoxes((150,), step=None),)), [(1, 1)], (300, 300))
    np.testing.assert_allclose(boxes[0], [0.25, 0.25, 0.75, 0.75])


def test_clipped_boxes_lie_inside():
    clipped = caffe_default_boxes(replace(BOXES_300_VOC, clip=True), MAPS_300, (300, 300))
    plain = caffe_default_boxes(BOXES_300_VOC, MAPS_300, (300, 300))
    assert plain.min() < 0
    np.testing.assert_array_equal(clipped, plain.clip(0, 1))


def test_no_map_gives_no_boxes():
    assert caffe_default_boxes(BoxSpec(()), [], (300, 300)).shape == (0, 4)


def test_errors_say_expected_and_got():
    with pytest.raises(RequestError, match="6, got 2"):
        caffe_default_boxes(BOXES_300_VOC, MAPS_300[:2], (300, 300))
    with pytest.raises(RequestError, match="truncate_sizes"):
        caffe_default_boxes(BoxSpec((MapBoxes((0.5,)),)), [(1, 1)], (8, 8))


def scales_of_the_paper(m: int) -> list[float]:
    """Eq. 4 for s_1 .. s_{m+1}."""
    return [0.2 + (0.9 - 0.2) * (k - 1) / (m - 1) for k in range(1, m + 2)]


def spec_of_the_paper(m: int, side: int) -> BoxSpec:
    """Section 2.2: s_k and sqrt(s_k s_{k+1}); ratios 2 and 3, but no 3 on the first and the last two maps."""
    sizes = [side * scale for scale in scales_of_the_paper(m)]
    ratios = [(2.0,), *[(2.0, 3.0)] * (m - 3), (2.0,), (2.0,)]
    maps = tuple(MapBoxes((sizes[k],), (sizes[k + 1],), ratios[k]) for k in range(m))
    return BoxSpec(maps, truncate_sizes=False)


def paper_default_boxes(maps_hw: list[tuple[int, int]], side: int) -> np.ndarray:
    return caffe_default_boxes(spec_of_the_paper(len(maps_hw), side), maps_hw, (side, side))


def test_the_papers_table_of_widths_and_heights():
    boxes = xyxy_to_cxcywh(paper_default_boxes(MAPS_300, 300))
    start = 0
    for (rows, columns), sizes in zip(MAPS_300, PAPER_SIZES, strict=True):
        expected = [sizes[i] for i in OUR_ORDER if sizes[i] is not None]
        every_cell = boxes[start : start + rows * columns * len(expected), 2:].reshape(-1, len(expected), 2)
        # Half a unit of the table's last place.
        np.testing.assert_allclose(every_cell, np.broadcast_to(expected, every_cell.shape), rtol=0, atol=0.005)
        start += rows * columns * len(expected)
    assert start == len(boxes) == 8732


def test_the_papers_centres():
    boxes = xyxy_to_cxcywh(paper_default_boxes(MAPS_300, 300))
    start = 0
    for (rows, columns), level in zip(MAPS_300, spec_of_the_paper(6, 300).maps, strict=True):
        in_cell = level.boxes_per_cell
        centres = boxes[start : start + rows * columns * in_cell, :2].reshape(rows, columns, in_cell, 2)
        for i in range(rows):
            for j in range(columns):
                expected = [[(j + 0.5) / columns, (i + 0.5) / rows]] * in_cell
                np.testing.assert_allclose(centres[i, j], expected, atol=1e-6)  # float32 of numbers up to 1
        start += rows * columns * in_cell


def test_boxes_in_fractions_do_not_depend_on_the_input_size():
    np.testing.assert_allclose(paper_default_boxes(MAPS_300, 512), paper_default_boxes(MAPS_300, 300), atol=1e-6)
    assert len(paper_default_boxes(MAPS_512, 512)) == 24564


@pytest.mark.parametrize("boxes", [BOXES_300_VOC, BOXES_320_LITE, BOXES_512_VOC])
def test_scales_are_those_of_equation_4_in_whole_percents(boxes):
    """The first map has 0.1 (section 3.1); eq. 4 is for the others, whose percents are rounded down."""
    scaled = with_paper_scales(boxes, (1000, 2000))
    scales = [level.min_sizes[0] / 1000 for level in scaled.maps]
    expected = scales_of_the_paper(len(scales) - 1)
    assert scales[0] == 0.1
    np.testing.assert_allclose(scales[1:], expected[:-1], atol=0.01 * len(scales))
    assert (np.diff(scales[1:]) * 100).round(6).tolist() == [70 // (len(scales) - 2)] * (len(scales) - 2)
    assert [level.max_sizes[0] / 1000 for level in scaled.maps[:-1]] == scales[1:]
    assert [level.aspect_ratios for level in scaled.maps] == [level.aspect_ratios for level in boxes.maps]


def test_the_papers_scales_give_the_authors_sizes():
    assert with_paper_scales(BOXES_300_VOC, (300, 300)).maps[:5] == tuple(BOXES_300_VOC.maps[:5])
    last = with_paper_scales(BOXES_300_VOC, (300, 300)).maps[5]
    assert (last.min_sizes, last.max_sizes) == ((264,), (300,))  # ssd_pascal.py has 315; no size exceeds the input


def test_maps_of_another_kind_keep_their_sizes():
    assert with_paper_scales(BOXES_300_MOBILENETV1, (300, 300)) == BOXES_300_MOBILENETV1
    two = BoxSpec(BOXES_300_VOC.maps[:2])
    assert with_paper_scales(two, (300, 300)) == two


def test_limits_keep_sizes_and_centres_inside_the_image():
    spec = BoxSpec((MapBoxes((400,), (), (), step=150.0),))
    free = xyxy_to_cxcywh(caffe_default_boxes(spec, [(1, 3)], (300, 300)))
    np.testing.assert_allclose(free[:, [0, 2]], [[0.25, 4 / 3], [0.75, 4 / 3], [1.25, 4 / 3]], rtol=1e-6)
    sizes = xyxy_to_cxcywh(caffe_default_boxes(spec, [(1, 3)], (300, 300), limits=("sizes",)))
    np.testing.assert_allclose(sizes[:, [0, 2]], [[0.25, 1], [0.75, 1], [1.25, 1]], rtol=1e-6)
    both = xyxy_to_cxcywh(caffe_default_boxes(spec, [(1, 3)], (300, 300), limits=("sizes", "centres")))
    np.testing.assert_allclose(both[:, [0, 2]], [[0.25, 1], [0.75, 1], [1, 1]], rtol=1e-6)
