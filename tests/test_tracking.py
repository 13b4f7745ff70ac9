from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.errors import RequestError
from singleshot.tracking.byte_track import Tracker, TrackerSettings
from singleshot.tracking.kalman import FPS, first_state, predict, update
from singleshot.types import Detections

CLASSES = ("car", "person")
TUD = ("TUD-Campus", "TUD-Stadtmitte")
AS_ORACLE = TrackerSettings(begin_score=0.7, high_score=0.6, low_score=0.0)
BOX = (10.0, 10.0, 50.0, 90.0)


def detections(boxes: Any, scores: Any = None, labels: Any = None) -> Detections:
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.full(len(boxes), 0.9) if scores is None else scores
    labels = np.zeros(len(boxes)) if labels is None else labels
    return Detections(boxes, np.asarray(scores, np.float32), np.asarray(labels, np.int64), CLASSES)


NOTHING = detections([])


def ids_of(tracker: Tracker, frames: Sequence[Detections], *, fps: float = FPS) -> list[list[int]]:
    return [tracker(frame, index / fps).ids.tolist() for index, frame in enumerate(frames)]


def shifted(box: Sequence[float], x: float, y: float = 0) -> tuple[float, ...]:
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


def test_a_track_has_an_id_from_its_second_frame_on() -> None:
    assert ids_of(Tracker(), [detections([BOX])] * 3) == [[], [1], [1]]


@pytest.mark.parametrize("frames", [1, 3])
def test_it_counts_when_it_was_seen_so_often(frames: int) -> None:
    ids = ids_of(Tracker(TrackerSettings(confirm_frames=frames)), [detections([BOX])] * 4)
    assert ids == [[]] * (frames - 1) + [[1]] * (5 - frames)


def test_an_unconfirmed_track_ends_when_it_is_not_seen() -> None:
    one = detections([BOX])
    assert ids_of(Tracker(), [one, NOTHING, one, NOTHING, one, one]) == [[], [], [], [], [], [1]]


@pytest.mark.parametrize(("fps", "gap", "same"), [(10, 10, True), (10, 11, False), (30, 30, True), (30, 31, False)])
def test_ids_are_stable_through_gaps_of_a_second(fps: float, gap: int, same: bool) -> None:
    one = detections([BOX])
    ids = ids_of(Tracker(), [one, one, *[NOTHING] * (gap - 1), one, one], fps=fps)
    assert ids[-1] == ([1] if same else [2])


def test_a_moving_box_is_expected_where_it_goes() -> None:
    frames = [detections([shifted(BOX, 8 * index)]) for index in range(30)]
    frames[15:25] = [NOTHING] * 10  # it moves twice its width meanwhile
    assert ids_of(Tracker(), frames)[-1] == [1]


def test_a_low_score_goes_on_with_a_track_but_begins_none() -> None:
    low, high = detections([BOX], [0.2]), detections([BOX])
    assert ids_of(Tracker(), [low, low, high, high, low, low]) == [[], [], [], [1], [1], [1]]


def test_scores_at_the_thresholds_count() -> None:
    chosen = TrackerSettings(begin_score=0.75, high_score=0.5, low_score=0.25, confirm_frames=1)
    tracker = Tracker(chosen)
    assert len(tracker(detections([BOX], [0.5]), 0.0)) == 0
    assert len(tracker(detections([BOX], [0.75]), 0.1)) == 1
    assert len(tracker(detections([BOX], [0.25]), 0.2)) == 1
    assert len(tracker(detections([BOX], [0.125]), 0.3)) == 0


def test_high_scores_are_assigned_before_low_ones() -> None:
    tracker = Tracker()
    ids_of(tracker, [detections([BOX])] * 2)
    tracks = tracker(detections([BOX, shifted(BOX, 10)], [0.3, 0.8]), 1.0)
    assert [(track.id, track.box[0]) for track in tracks] == [(1, 20.0)]


def test_a_car_never_becomes_a_person() -> None:
    tracker = Tracker()
    car, person = detections([BOX], labels=[0]), detections([BOX], labels=[1])
    assert ids_of(tracker, [car, car, person, person, car]) == [[], [1], [], [2], [1]]


def test_boxes_that_do_not_overlap_are_of_two_tracks() -> None:
    tracker = Tracker(TrackerSettings(iou_threshold=0, confirm_frames=1))
    assert ids_of(tracker, [detections([BOX]), detections([shifted(BOX, 100)])]) == [[1], [2]]


def test_unusable_detections_are_left_out_and_counted() -> None:
    wrong = [(np.nan, 0, 1, 1), (0, 0, np.inf, 1), (5, 5, 5, 9), (9, 9, 2, 2), (1, 2, 3, 4)]
    tracker = Tracker(TrackerSettings(confirm_frames=1))
    tracks = tracker(detections([*wrong, BOX], [0.9, 0.9, 0.9, 0.9, np.nan, 0.9]), 0.0)
    assert [track.box for track in tracks] == [BOX]
    assert tracker.unusable == 5


@pytest.mark.parametrize("seconds", [1.0, 0.5, float("nan"), float("inf")])
def test_time_goes_forward(seconds: float) -> None:
    tracker = Tracker()
    tracker(NOTHING, 1.0)
    with pytest.raises(RequestError, match="later"):
        tracker(NOTHING, seconds)


def test_a_tracker_has_one_set_of_classes() -> None:
    tracker = Tracker()
    tracker(NOTHING, 0.0)
    with pytest.raises(RequestError, match="dog"):
        tracker(Detections(NOTHING.boxes, NOTHING.scores, NOTHING.labels, ("dog",)), 1.0)


@pytest.mark.parametrize(
    "wrong", [{"begin_score": 1.5}, {"iou_threshold": float("nan")}, {"lost_seconds": -1}, {"confirm_frames": 0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        TrackerSettings(**wrong)  # type: ignore[arg-type]


def test_a_million_tracks_leave_nothing_behind() -> None:
    tracker = Tracker(TrackerSettings(confirm_frames=1, lost_seconds=0.5))
    tracker._next_id = 1_000_000
    last = NOTHING
    for frame in range(200):  # a new object in each frame, since none overlaps the one before
        tracks = tracker(detections([shifted(BOX, 100 * (frame % 7), 100 * frame)]), frame / 10)
        assert len(tracker._alive) <= 6
        last = tracks
    assert last.ids.tolist() == [1_000_199]


def random_frames(seed: int, count: int) -> list[Detections]:
    """Boxes that move, of all scores and two classes, with gaps and false detections."""
    rng = np.random.default_rng(seed)
    places, speeds = rng.uniform(0, 300, (8, 2)), rng.normal(0, 4, (8, 2))
    sizes, labels = rng.uniform(20, 80, (8, 2)), rng.integers(0, 2, 8)
    frames = []
    for _ in range(count):
        places += speeds
        seen = rng.random(8) < 0.85
        corners = np.concatenate([places, places + sizes], axis=1) + rng.normal(0, 1.5, (8, 4))
        noise = rng.uniform(0, 300, (2, 2))
        boxes = np.concatenate([corners[seen], np.concatenate([noise, noise + 40], axis=1)])
        scores = np.concatenate([rng.uniform(0.3, 1, seen.sum()), rng.uniform(0, 0.8, 2)])
        frames.append(detections(boxes, scores, np.concatenate([labels[seen], [0, 1]])))
    return frames


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_ids_are_unique_and_the_order_of_detections_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    straight, shuffled = Tracker(), Tracker()
    names: dict[int, str] = {}
    for index, frame in enumerate(random_frames(seed, 25)):
        tracks = straight(frame, index / FPS)
        assert tracks.ids.tolist() == sorted(set(tracks.ids.tolist()))
        assert set(tracks.ids.tolist()) <= straight.ids
        for track in tracks:
            assert names.setdefault(track.id, track.name) == track.name
        others = shuffled(frame[rng.permutation(len(frame))], index / FPS)
        assert tracks.to_dicts() == others.to_dicts()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.25, 3.0]))
def test_the_size_of_the_video_does_not_matter(seed: int, scale: float) -> None:
    small, large = Tracker(), Tracker()
    for index, frame in enumerate(random_frames(seed, 25)):
        scaled = detections(frame.boxes * np.float32(scale), frame.scores, frame.labels)
        assert small(frame, index / FPS).ids.tolist() == large(scaled, index / FPS).ids.tolist()


def test_the_kalman_filter_is_the_textbook_one() -> None:
    """Eight dimensions, dense matrices and an inverse, as in a textbook."""
    box, later = np.array([10.0, 20.0, 30.0, 60.0]), np.array([14.0, 19.0, 36.0, 61.0])
    x, P = np.concatenate([box, np.zeros(4)]), np.eye(8)
    H, F = np.eye(4, 8), np.eye(8)
    F[:4, 4:] = np.eye(4) * 1.5
    for _ in range(3):
        x, P = F @ x, F @ P @ F.T + 1.5 * 0.01 * np.eye(8)
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + 0.1 * np.eye(4))
        x, P = x + K @ (later - H @ x), (np.eye(8) - K @ H) @ P
    state, covariance = first_state(box[None])
    for _ in range(3):
        state, covariance = update(*predict(state, covariance, 1.5 / 30), later[None])
    np.testing.assert_allclose(state[0].T.ravel(), x, rtol=1e-12)
    np.testing.assert_allclose(covariance[0], P[[0, 4]][:, [0, 4]], rtol=1e-12)


def tud_rows(sequence: str, file: str) -> np.ndarray:
    """Rows of a MOTChallenge file in the motmetrics package."""
    spec = find_spec("motmetrics")
    if spec is None or spec.origin is None:
        pytest.skip("motmetrics, which holds TUD-Campus and TUD-Stadtmitte, is not installed")
    return np.loadtxt(Path(spec.origin).parent / "data" / sequence / file, delimiter=",")


def tud_frames(sequence: str, file: str) -> list[Detections]:
    rows = tud_rows(sequence, file)
    boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    return [detections(boxes[rows[:, 0] == frame]) for frame in range(1, int(rows[:, 0].max()) + 1)]


def require_equal_to_trackers(frames: Sequence[Detections]) -> int:
    """Compare with ByteTrack of `trackers`; returns how many boxes have a track."""
    if find_spec("trackers") is None:
        pytest.skip("trackers, the oracle, is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import supervision
        from trackers import ByteTrackTracker
    oracle, tracker = ByteTrackTracker(frame_rate=30), Tracker(AS_ORACLE)
    same: dict[int, int] = {}
    count = 0
    for index, frame in enumerate(frames):
        given = supervision.Detections(frame.boxes, confidence=frame.scores, class_id=frame.labels)
        expected = oracle.update(given, timestamp=index / FPS)
        has_track = expected.tracker_id >= 0
        theirs = dict(zip(map(tuple, expected.xyxy[has_track].tolist()), expected.tracker_id[has_track], strict=True))
        ours = {track.box: track.id for track in tracker(frame, index / FPS)}
        assert ours.keys() == theirs.keys(), f"frame {index}"
        for box, number in ours.items():
            assert same.setdefault(number, theirs[box]) == theirs[box], f"frame {index}"
        count += len(ours)
    assert len(set(same.values())) == len(same)
    return count


@pytest.mark.parametrize("file", ["gt.txt", "test.txt"])
@pytest.mark.parametrize("sequence", TUD)
def test_tracks_of_tud_equal_those_of_trackers(sequence: str, file: str) -> None:
    assert require_equal_to_trackers(tud_frames(sequence, file)) > 200


@pytest.mark.parametrize("seed", range(5))
def test_tracks_with_scores_of_all_kinds_equal_those_of_trackers(seed: int) -> None:
    frames = [detections(frame.boxes, frame.scores) for frame in random_frames(seed, 60)]  # one class
    assert require_equal_to_trackers(frames) > 100
