"""Which detections of a video are the same object: ByteTrack.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022, in the variant of
`trackers` 2.6, which is the oracle of the tests. Every frame:

1. Each track's box is predicted by a Kalman filter with constant velocity.
2. Tracks are assigned to detections of a high score, so that the sum of IoUs is the largest.
3. Tracks that are left over are assigned to detections of a low score: an object that is half hidden keeps its track.
4. Detections of a high score that are left over begin tracks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from singleshot.assignment import assign
from singleshot.boxes import pairwise_iou
from singleshot.degenerate_boxes import usable_boxes
from singleshot.errors import RequestError
from singleshot.shapes import Int64
from singleshot.tracking.kalman import first_state, predict, update
from singleshot.tracking.tracks import Tracks
from singleshot.types import Detections

ALIVE = np.dtype(
    [
        ("state", np.float64, (4, 2)),  # of the Kalman filter: position and velocity of left, top, right, bottom
        ("covariance", np.float64, (2, 2)),
        ("id", np.int64),  # 0 before it is confirmed
        ("label", np.int64),
        ("frames", np.int64),  # in which it was seen
        ("last_seen", np.float64),  # seconds
    ]
)
"""A track that has not ended."""

LEAST_IOU = 1e-9
"""Boxes that do not overlap are never of one track."""
ROUNDING = 1e-6
"""Seconds."""


@dataclass(frozen=True)
class TrackerSettings:
    """When a track begins, goes on and ends.

    Attributes:
        begin_score: a track begins with a detection of this score.
        high_score: detections from this score on are assigned first.
        low_score: detections below this score are left out.
        iou_threshold: least IoU of a detection with the predicted box of its track.
        lost_seconds: a track that is not seen for longer has ended; when the object comes back it is another track.
        confirm_frames: a track counts, and gets its id, when it is seen in so many frames on end.

    Raises:
        RequestError: a setting out of its range.
    """

    begin_score: float = 0.5
    high_score: float = 0.5
    low_score: float = 0.2
    iou_threshold: float = 0.1
    lost_seconds: float = 1.0
    confirm_frames: int = 2

    def __post_init__(self) -> None:
        for name in ("begin_score", "high_score", "low_score", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise RequestError(f"{name} is between 0 and 1, got {getattr(self, name)}")
        if not 0 <= self.lost_seconds < math.inf:
            raise RequestError(f"lost_seconds is 0 or more, got {self.lost_seconds}")
        if self.confirm_frames < 1:
            raise RequestError(f"confirm_frames is 1 or more, got {self.confirm_frames}")


class Tracker:
    """Tracks of a video, frame by frame; a video has a tracker of its own.

    Examples:
        >>> tracker = Tracker()
        >>> for frame in range(3):  # a box that moves to the right
        ...     box = np.array([[10 * frame, 0, 10 * frame + 40, 40]], np.float32)
        ...     detections = Detections(box, np.array([0.9], np.float32), np.array([0]), ("car",))
        ...     tracks = tracker(detections, frame / 25)
        >>> [(track.id, track.name) for track in tracks]
        [(1, 'car')]

    A track has one class: a detection of another class never goes on with it. The order of the detections does not
    matter. Memory holds the tracks that have not ended, and nothing of the others.

    Attributes:
        settings: when a track begins, goes on and ends.
        unusable: how many detections were left out so far, since their box or score was not finite, or their box had
            no area.
    """

    def __init__(self, settings: TrackerSettings = TrackerSettings()) -> None:
        self.settings = settings
        self.unusable = 0
        self._seconds = -math.inf
        self._class_names: tuple[str, ...] | None = None
        self._next_id = 1
        self._alive = np.zeros(0, ALIVE)

    @property
    def ids(self) -> frozenset[int]:
        """The confirmed tracks that have not ended; those that are not seen at the moment may come back."""
        return frozenset(self._alive["id"].tolist()) - {0}

    def __call__(self, detections: Detections, seconds: float) -> Tracks:
        """The tracks that are seen in the next frame.

        Args:
            detections: of the frame, unlikely ones too (`Detector.load(score=0.2)`); they have the class names of the
                frames before.
            seconds: when the frame is shown; later than the frame before.

        Raises:
            RequestError: time does not go forward, or the classes are others than before.
        """
        self._advance(seconds, detections.class_names)
        detections = self._usable(detections)
        high = detections.scores >= self.settings.high_score
        track_of = np.full(len(detections), -1)  # of each detection: place in `_alive`
        for rows in (np.flatnonzero(high), np.flatnonzero(~high)):
            self._associate(detections, rows, track_of)
        self._see(detections, track_of)
        begins = (track_of < 0) & high & (detections.scores >= self.settings.begin_score)
        track_of[begins] = len(self._alive) + np.arange(np.count_nonzero(begins))
        self._begin(detections[begins])
        self._confirm()
        rows = np.flatnonzero(track_of >= 0)
        ids = self._alive["id"][track_of[rows]]
        order = np.argsort(ids)[np.count_nonzero(ids == 0) :]
        self._alive = self._alive[(self._alive["id"] > 0) | (self._alive["last_seen"] == seconds)]
        return Tracks(ids[order], detections[rows[order]])

    def _advance(self, seconds: float, class_names: tuple[str, ...]) -> None:
        """End the tracks that were not seen for too long, and predict where the boxes of the others are now."""
        if not self._seconds < seconds < math.inf:
            raise RequestError(f"a frame has to be later than the one before ({self._seconds} s), got {seconds} s")
        if self._class_names not in {None, class_names}:
            raise RequestError(f"a tracker has one model's classes: {self._class_names}, got {class_names}")
        lost = seconds - self._alive["last_seen"] > self.settings.lost_seconds + ROUNDING
        self._alive = self._alive[~lost]
        if len(self._alive):
            self._alive["state"], self._alive["covariance"] = predict(
                self._alive["state"], self._alive["covariance"], seconds - self._seconds
            )
        self._seconds, self._class_names = seconds, class_names

    def _usable(self, detections: Detections) -> Detections:
        """Those that can be tracked, in an order that does not depend on theirs."""
        boxes, scores, labels = detections.boxes, detections.scores, detections.labels
        usable = usable_boxes(boxes.astype(np.float64)) & np.isfinite(scores)
        self.unusable += int(np.count_nonzero(~usable))
        rows = np.flatnonzero(usable & (scores >= self.settings.low_score))
        return detections[rows[np.lexsort((*boxes[rows].T, labels[rows], -scores[rows]))]]

    def _associate(
        self, detections: Detections, rows: Int64[np.ndarray, " m"], track_of: Int64[np.ndarray, " n"]
    ) -> None:
        """Assign tracks that have no detection in this frame to these detections, of the same class only."""
        free = np.ones(len(self._alive), bool)
        free[track_of[track_of >= 0]] = False
        tracks = np.flatnonzero(free)
        if not len(tracks) or not len(rows):
            return
        similarity = pairwise_iou(self._alive["state"][tracks, :, 0], detections.boxes[rows].astype(np.float64))
        similarity *= self._alive["label"][tracks, None] == detections.labels[rows]
        assigned, columns = assign(similarity)
        near = similarity[assigned, columns] >= max(self.settings.iou_threshold, LEAST_IOU)
        track_of[rows[columns[near]]] = tracks[assigned[near]]

    def _see(self, detections: Detections, track_of: Int64[np.ndarray, " n"]) -> None:
        """Correct the tracks that have a detection in this frame."""
        seen = track_of >= 0
        tracks = self._alive[track_of[seen]]
        tracks["state"], tracks["covariance"] = update(
            tracks["state"], tracks["covariance"], detections.boxes[seen].astype(np.float64)
        )
        tracks["frames"] += 1
        tracks["last_seen"] = self._seconds
        self._alive[track_of[seen]] = tracks

    def _begin(self, detections: Detections) -> None:
        """Begin a track with each detection."""
        begun = np.zeros(len(detections), ALIVE)
        begun["state"], begun["covariance"] = first_state(detections.boxes)
        begun["label"], begun["frames"], begun["last_seen"] = detections.labels, 1, self._seconds
        self._alive = np.concatenate([self._alive, begun])

    def _confirm(self) -> None:
        """Give an id to each track that was seen often enough."""
        ready = (self._alive["id"] == 0) & (self._alive["frames"] >= self.settings.confirm_frames)
        count = int(np.count_nonzero(ready))
        self._alive["id"][ready] = self._next_id + np.arange(count)
        self._next_id += count
