from __future__ import annotations

import itertools

import numpy as np
import pytest

from evaluation_examples import annotations, detections
from singleshot.draw import Mark, class_colour, draw_marks
from singleshot.types import Detections


def grey(height, width):
    return np.full((height, width, 3), 127, np.uint8)


def coloured(image, colour):
    """Where the image has exactly this colour."""
    return (image == np.array(colour, np.uint8)).all(-1)


def test_the_line_lies_on_the_box_and_the_input_is_untouched():
    before = grey(200, 300)
    after = draw_marks(before, [Mark((50, 60, 150, 160), (0, 255, 0))])
    assert (before == 127).all()
    rows, columns = np.nonzero(coloured(after, (0, 255, 0)))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (50, 60, 150, 160)
    assert (after[70:150, 60:140] == 127).all()  # the inside stays visible
    assert (after[:55] == 127).all()
    for x, y in ((49, 100), (151, 100), (100, 59), (100, 161)):  # a dark seam outside every side
        assert (after[y, x] == 0).all()


def test_detections_have_the_colour_of_their_class_and_a_caption():
    drawn = detections([(10, 40, 100, 90, 0, 0.9), (120, 40, 190, 90, 1, 0.8)])
    after = drawn.draw(grey(100, 200))
    for label, columns in ((0, slice(0, 110)), (1, slice(110, 200))):
        in_colour = coloured(after, class_colour(label))
        assert in_colour[:, columns].any()
        assert in_colour[20:39, columns].sum() > 100  # the plate above the box
        others = np.delete(in_colour, np.r_[columns], axis=1)
        assert not others.any()


def test_the_best_of_equal_boxes_is_drawn_on_top():
    box = (40, 100, 400, 300)
    after = detections([(*box, 0, 0.4), (*box, 1, 0.9), (*box, 0, 0.5)]).draw(grey(400, 500))
    right_line = after[150:250, 400]  # captions begin at the left
    assert coloured(right_line, class_colour(1)).all()


def test_ground_truth_is_dashed_white():
    ground_truth = annotations([[(20, 20, 180, 180, 0)]]).ground_truth(0)
    after = detections([]).draw(grey(200, 200), ground_truth=ground_truth)
    along = coloured(after, (255, 255, 255))[20, 20:181]
    assert 0.3 < along.mean() < 0.7


@pytest.mark.parametrize("side", [200, 4000])
def test_lines_and_captions_scale_with_the_image(side):
    box = (0.25 * side, 0.25 * side, 0.75 * side, 0.75 * side)
    after = detections([(*box, 0, 0.5)]).draw(grey(side, side))
    share = (after != 127).any(-1).mean()
    assert 0.01 < share < 0.06


def test_captions_of_equal_boxes_do_not_cover_each_other():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    after = draw_marks(grey(300, 300), [Mark((50, 100, 250, 200), colour, "caption") for colour in colours])
    for colour in colours:
        assert coloured(after, colour).sum() > 300


@pytest.mark.parametrize("box", [(-50, -50, 500, 500), (0, 0, 0, 0), (90, 90, 10, 10), (300, 300, 400, 400)])
def test_boxes_that_stick_out_or_are_degenerate(box):
    assert detections([(*box, 0, 0.9)]).draw(grey(100, 100)).shape == (100, 100, 3)


def test_boxes_that_are_not_finite_are_left_out():
    marks = [Mark((0, float("nan"), 5, 5), (255, 0, 0), "x"), Mark((0, 0, float("inf"), 5), (255, 0, 0), "x")]
    assert (draw_marks(grey(50, 50), marks) == 127).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (5, 5)])
def test_tiny_images(shape):
    drawn = detections([(0, 0, shape[1], shape[0], 0, 0.9)])
    assert drawn.draw(grey(*shape)).shape == (*shape, 3)


def test_many_detections_and_odd_names():
    random = np.random.default_rng(0)
    corner = random.uniform(0, 100, (200, 2)).astype(np.float32)
    names = ("<b>", "Größe", "車", "a\nb", "")
    many = Detections(np.hstack([corner, corner + 20]), random.random(200).astype(np.float32),
                       random.integers(0, 5, 200), names)  # fmt: skip
    assert many.draw(grey(150, 150)).shape == (150, 150, 3)


def test_class_colours_differ():
    colours = [class_colour(label) for label in range(24)]
    nearest = min(sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in itertools.combinations(colours, 2))
    assert nearest > 12
    assert len({class_colour(label) for label in range(80)}) == 80


def test_read_only_and_sliced_images_can_be_drawn_on():
    image = grey(100, 100)[::-1, ::-1]
    image.flags.writeable = False
    assert detections([(10, 10, 50, 50, 0, 0.9)]).draw(image).shape == (100, 100, 3)
