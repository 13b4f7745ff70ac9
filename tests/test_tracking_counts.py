from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.errors import RequestError
from singleshot.tracking.counting import ClassCounter, LineCounter, ZoneCounter, points_of
from singleshot.tracking.tracks import Tracks
from singleshot.types import Detections

CLASSES = ("car", "person")
SQUARE = ((10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0))


def standing_at(points: dict[int, tuple[float, float]], label: int = 0) -> Tracks:
    """Tracks of 20 x 20 pixels that stand at these points."""
    boxes = np.array([(x - 10, y - 20, x + 10, y) for x, y in points.values()], np.float32).reshape(-1, 4)
    count = len(points)
    labels = np.full(count, label)
    return Tracks(np.array(list(points), np.int64), Detections(boxes, np.ones(count, np.float32), labels, CLASSES))


def walk(counter: LineCounter, points: Sequence[tuple[float, float]], number: int = 1) -> None:
    for point in points:
        counter.add(standing_at({number: point}), {number})


def test_each_track_counts_once() -> None:
    counter = ClassCounter()
    for ids in ([1], [1, 2], [], [2, 3], [1]):
        counter.add(standing_at(dict.fromkeys(ids, (0, 0))))
    counter.add(standing_at({4: (0, 0)}, label=1))
    assert counter.counts == {"car": 3, "person": 1}


def test_a_line_has_two_directions() -> None:
    """The line goes down; its right side, seen from start to end, is at smaller x."""
    counter = LineCounter((100, 0), (100, 200))
    walk(counter, [(150, 100), (120, 100), (80, 100), (50, 100), (140, 100)])
    walk(counter, [(150, 50), (90, 50)], number=2)
    assert (counter.right, counter.left) == ({"car": 2}, {"car": 1})


def test_who_goes_around_the_line_does_not_cross_it() -> None:
    counter = LineCounter((100, 0), (100, 200))
    walk(counter, [(150, 250), (50, 250), (50, 100)])
    assert not counter.right
    assert not counter.left


def test_a_trembling_box_does_not_cross() -> None:
    counter = LineCounter((100, 0), (100, 200))
    walk(counter, [(102, 100), (99.5, 100), (100.5, 100), (99.5, 100), (97, 100)])
    assert (counter.right, counter.left) == ({"car": 1}, {})


def test_a_crossing_in_a_gap_counts() -> None:
    counter = LineCounter((100, 0), (100, 200))
    walk(counter, [(150, 100)])
    counter.add(standing_at({}), {1})
    walk(counter, [(50, 100)])
    assert counter.right == {"car": 1}


def test_a_track_that_ended_is_forgotten() -> None:
    line, zone = LineCounter((100, 0), (100, 200)), ZoneCounter(SQUARE)
    for number in range(50):
        line.add(standing_at({number: (150, 100)}), {number})
        zone.add(standing_at({number: (20, 20)}), {number}, number)
    assert len(line._last) == len(zone._known) == 1
    assert zone.entered == {"car": 50}


def test_a_zone_counts_now_entered_and_seconds() -> None:
    zone = ZoneCounter(SQUARE)
    path = [(5, 20), (15, 20), (20, 20), None, (25, 20), (50, 20), (20, 20)]
    now = []
    for index, point in enumerate(path):
        zone.add(standing_at({1: point} if point else {}), {1}, index / 2)
        now.append(zone.now.total())
    assert now == [0, 1, 1, 0, 1, 0, 1]
    assert zone.to_dict() == {
        "zone": [10, 10, 30, 10, 30, 30, 10, 30],
        "now": {"car": 1},
        "entered": {"car": 1},
        "seconds": {"car": 1.5},
    }


def test_a_zone_in_the_form_of_a_u() -> None:
    """Two of its edges lie on one straight line, and do not cross."""
    zone = ZoneCounter(((0, 0), (10, 0), (10, 20), (20, 20), (20, 0), (30, 0), (30, 30), (0, 30)))
    assert [zone.contains(point) for point in ((5, 5), (15, 5), (25, 5), (15, 25))] == [True, False, True, True]


@given(st.floats(0, 40), st.floats(0, 40))
def test_inside_is_what_the_polygon_holds(x: float, y: float) -> None:
    inside = 10 < x < 30 and 10 < y < 30
    on_edge = math.isclose(min(abs(x - 10), abs(x - 30), abs(y - 10), abs(y - 30)), 0, abs_tol=1e-9)
    assert on_edge or ZoneCounter(SQUARE).contains((x, y)) == inside
    assert on_edge or ZoneCounter(SQUARE[::-1]).contains((x, y)) == inside


@given(st.floats(-200, 200), st.floats(-200, 200))
def test_there_and_back_cancel(x: float, y: float) -> None:
    counter = LineCounter((0, -100), (0, 100))
    walk(counter, [(x, y), (-x, -y), (x, y)])
    assert counter.right.total() == counter.left.total() <= 1


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,nan,4", "1,2,1e9,4", "1,2"])
def test_points_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match="--line is x1,y1,x2,y2 in pixels"):
        points_of(text, "--line", least=2)


def test_points() -> None:
    assert points_of("1,2, 3.5,4", "--line", least=2) == ((1, 2), (3.5, 4))


def test_a_line_of_no_length() -> None:
    with pytest.raises(RequestError, match="length"):
        LineCounter((3, 4), (3, 4))


@pytest.mark.parametrize(
    ("corners", "token"),
    [
        (((0, 0), (5, 5)), "three"),
        (((0, 0), (5, 5), (0, 0)), "three"),
        (((0, 0), (5, 5), (9, 9)), "area"),
        (((0, 0), (10, 10), (10, 0), (0, 12)), "cross"),
    ],
)
def test_zones_that_are_none(corners: tuple[tuple[float, float], ...], token: str) -> None:
    with pytest.raises(RequestError, match=token):
        ZoneCounter(corners)
