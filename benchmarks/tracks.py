"""Scores and speed of our ByteTrack beside that of `trackers`, on the public detections of MOTChallenge sequences.

python benchmarks/tracks.py TUD-Campus TUD-Stadtmitte
python benchmarks/tracks.py --memory 90000

A sequence is a folder with `gt.txt` and `test.txt`, such as those in the `motmetrics` package's folder `data`. The ids
of `test.txt` are dropped: its boxes are the detections, each of score 1. Needs `trackers` and `supervision`.

`--memory FRAMES` tracks and counts random objects that come and go, and prints the memory of the process on the way.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from singleshot import Tracker
from singleshot.evaluate.track_figures import TrackEvaluation, evaluate_tracks
from singleshot.evaluate.track_file import TrackBoxes, read_track_boxes
from singleshot.tracking.byte_track import TrackerSettings
from singleshot.tracking.counting import ClassCounter, LineCounter, ZoneCounter
from singleshot.types import Detections

AS_TRACKERS = TrackerSettings(begin_score=0.7, high_score=0.6, low_score=0.0)
"""The settings of `trackers`."""
Boxes = np.ndarray
Track = Callable[[Boxes, float], tuple[np.ndarray, Boxes]]
"""Boxes of a frame and its time -> ids and boxes of the tracks."""


def ours() -> Track:
    """Our tracker."""
    tracker = Tracker(AS_TRACKERS)

    def track(boxes: Boxes, seconds: float) -> tuple[np.ndarray, Boxes]:
        count = len(boxes)
        detections = Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int64), ("person",))
        tracks = tracker(detections, seconds)
        return tracks.ids, tracks.detections.boxes

    return track


def theirs(fps: float) -> Track:
    """ByteTrack of `trackers`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import supervision
        from trackers import ByteTrackTracker
    tracker = ByteTrackTracker(frame_rate=fps)

    def track(boxes: Boxes, seconds: float) -> tuple[np.ndarray, Boxes]:
        given = supervision.Detections(boxes, confidence=np.ones(len(boxes)), class_id=np.zeros(len(boxes), int))
        tracks = tracker.update(given, timestamp=seconds)
        has_id = tracks.tracker_id >= 0
        return tracks.tracker_id[has_id], tracks.xyxy[has_id]

    return track


def tracked(detections: TrackBoxes, track: Track, fps: float) -> tuple[TrackBoxes, float]:
    """All tracks, and the milliseconds of processor time a frame."""
    frames, ids, boxes = [], [], []
    seconds = 0.0
    for frame in range(1, int(detections.frames.max()) + 1):
        given = detections.boxes_xyxy[detections.frames == frame].astype(np.float32)
        start = time.thread_time()
        frame_ids, frame_boxes = track(given, frame / fps)
        seconds += time.thread_time() - start
        frames.append(np.full(len(frame_ids), frame))
        ids.append(frame_ids)
        boxes.append(frame_boxes)
    table = TrackBoxes(np.concatenate(frames), np.concatenate(ids), np.concatenate(boxes).astype(np.float64))
    return table, 1000 * seconds / frame


def measure_memory(frames: int) -> None:
    """Print the memory after each tenth of the frames."""
    import resource

    rng = np.random.default_rng(0)
    tracker, classes = Tracker(), ClassCounter()
    line, zone = LineCounter((0, 500), (1000, 500)), ZoneCounter(((0, 0), (500, 0), (500, 500), (0, 500)))
    places, speeds = rng.uniform(0, 1000, (12, 2)), rng.normal(0, 5, (12, 2))
    for frame in range(frames):
        places += speeds
        gone = rng.random(12) < 0.02
        places[gone] = rng.uniform(0, 1000, (int(gone.sum()), 2))
        boxes = np.concatenate([places, places + 80], axis=1).astype(np.float32)[rng.random(12) < 0.9]
        count = len(boxes)
        scores = rng.uniform(0.3, 1, count).astype(np.float32)
        tracks = tracker(Detections(boxes, scores, np.zeros(count, np.int64), ("person",)), frame / 25)
        classes.add(tracks)
        line.add(tracks, tracker.ids)
        zone.add(tracks, tracker.ids, frame / 25)
        if (frame + 1) % (frames // 10) == 0:
            kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(f"{frame + 1:,} frames: {classes.counts.total():,} tracks, {kilobytes / 1024:.1f} MB", flush=True)


def main() -> None:
    """Print a line for each sequence and tracker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", type=Path, nargs="*")
    parser.add_argument("--memory", type=int, metavar="FRAMES")
    parser.add_argument("--fps", type=float, default=25.0)
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.memory)
    for sequence in options.sequences:
        truth = read_track_boxes(sequence / "gt.txt", ground_truth=True)
        detections = read_track_boxes(sequence / "test.txt")
        results: dict[str, tuple[TrackEvaluation, float]] = {"as shipped": (evaluate_tracks(truth, detections), 0.0)}
        for name, track in (("ours", ours()), ("trackers", theirs(options.fps))):
            tracks, milliseconds = tracked(detections, track, options.fps)
            results[name] = evaluate_tracks(truth, tracks), milliseconds
        for name, (result, milliseconds) in results.items():
            figures = "  ".join(f"{key} {result.numbers[key]:.4f}" for key in ("MOTA", "IDF1", "HOTA"))
            counts = "  ".join(f"{key} {result.counts[key]}" for key in ("IDs", "FP", "FN", "tracks"))
            print(f"{sequence.name}  {name:>10}  {figures}  {counts}  {milliseconds:.2f} ms of processor time a frame")


if __name__ == "__main__":
    main()
