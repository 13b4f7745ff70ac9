"""What tracks do to flicker and missed objects, beside detections of single frames; and whether smoothed scores help.

python benchmarks/track_scores.py --data VOC2007 --split val --images 120 --video car-detection.mp4

A window of 60% of the sides pans over each image of a labelled set, 40 frames at 25 a second, with noise and changing
light, so that the ground truth of each frame is known. The ways, each at the lowest score at which precision is that of
detections from 0.5 on:

    detections   the boxes of each frame by themselves
    tracks       ByteTrack: a likely detection begins a track, those from 0.4 of its score on go on with it
    at once      the same, shown from the first frame on; tracks wait for their second
    any class    tracks without regard to classes; a track has the class that most of its detections had so far
    smoothed     tracks that begin at 0.3, shown where the filtered score of the track is high enough
    held         tracks, and the last box of each for a tenth of a second after it was seen

Missed is the share of objects in frames that have no box of their class with IoU 0.5; flicker is how often in 100
frames an object that had one has none in the next. On the video, which has no ground truth, an object is a track of the
way `tracks` at 0.5; missed are frames between its first and its last.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from singleshot import Detector, Tracker
from singleshot.boxes import area, clip_boxes, pairwise_iou
from singleshot.data.recognise import open_data
from singleshot.decode import decode_image
from singleshot.tracking.byte_track import TrackerSettings
from singleshot.types import Annotations, Detections
from singleshot.video.frames import open_video

FPS, FRAMES, WINDOW = 25.0, 40, 0.6
LOW = 0.4
"""Of the score that begins a track."""
VISIBLE = 0.5
"""Objects of which less lies in the window, and difficult ones, count neither as found nor as missed."""
HELD = 0.1
THRESHOLDS = np.arange(0.2, 0.96, 0.025)


@dataclass(frozen=True)
class Truth:
    """Ground truth of a frame: boxes, labels of the model, and which count."""

    boxes: np.ndarray
    labels: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Shown:
    """What a way shows in a frame, best first."""

    boxes: np.ndarray
    labels: np.ndarray


Frames = Sequence[Detections]
Way = Callable[[Frames, float], list[Shown]]
"""The detections of a video's frames and a threshold -> what is shown."""


def pan(annotations: Annotations, index: int, labels: dict[int, int], rng: np.random.Generator) -> Iterator[tuple]:
    """Pixels and ground truth of each frame."""
    truth, image = annotations.ground_truth(index), decode_image(annotations.path(index))
    full = np.array(image.shape[1::-1])
    size = (full * WINDOW).astype(int)
    first, last = rng.uniform(0, 1, (2, 2)) * (full - size)
    known = np.array([labels.get(int(label), -1) for label in truth.labels], np.int64)
    for step in np.linspace(0, 1, FRAMES):
        left, top = np.round(first + (last - first) * step).astype(int)
        pixels = image[top : top + size[1], left : left + size[0]].astype(np.float32)
        pixels = np.clip(pixels * rng.uniform(0.9, 1.1) + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        boxes = truth.boxes_xyxy.astype(np.float64) - [left, top, left, top]
        inside = clip_boxes(boxes, width=size[0], height=size[1])
        share = area(inside) / np.maximum(area(boxes), 1e-9)
        yield pixels, Truth(inside, known, (share >= VISIBLE) & (known >= 0) & ~truth.difficult)


def detections_alone(frames: Frames, threshold: float) -> list[Shown]:
    """Each frame by itself."""
    return [Shown(frame.boxes, frame.labels) for frame in (frame.above(threshold) for frame in frames)]


def settings_for(begin: float, *, confirm: int = 2) -> TrackerSettings:
    """Of a track that begins at this score."""
    return TrackerSettings(begin_score=begin, high_score=begin, low_score=LOW * begin, confirm_frames=confirm)


def tracks(frames: Frames, threshold: float, *, confirm: int = 2) -> list[Shown]:
    """Tracks that begin at the threshold."""
    tracker = Tracker(settings_for(threshold, confirm=confirm))
    seen = [tracker(frame, index / FPS).detections for index, frame in enumerate(frames)]
    return [Shown(detections.boxes, detections.labels) for detections in seen]


def of_any_class(frames: Frames, threshold: float) -> list[Shown]:
    """Tracks whose detections may have several classes."""
    tracker, votes, shown = Tracker(settings_for(threshold)), defaultdict[int, Counter[int]](Counter), []
    for index, frame in enumerate(frames):
        label_of = {tuple(box): label for box, label in zip(frame.boxes.tolist(), frame.labels.tolist(), strict=True)}
        seen = tracker(frame.as_one_class("object"), index / FPS)
        for track in seen:
            votes[track.id][label_of[track.box]] += 1
        labels = [votes[number].most_common(1)[0][0] for number in seen.ids.tolist()]
        shown.append(Shown(seen.detections.boxes, np.array(labels, np.int64)))
    return shown


def smoothed(gain: float) -> Way:
    """Tracks that begin at 0.3, shown by an exponential filter of their scores."""

    def way(frames: Frames, threshold: float) -> list[Shown]:
        tracker, filtered, shown = Tracker(settings_for(0.3)), dict[int, float](), []
        for index, frame in enumerate(frames):
            seen = tracker(frame, index / FPS)
            for track in seen:
                before = filtered.get(track.id, track.score)
                filtered[track.id] = before + gain * (track.score - before)
            keep = np.array([filtered[number] >= threshold for number in seen.ids.tolist()], bool)
            shown.append(Shown(seen.detections.boxes[keep], seen.detections.labels[keep]))
        return shown

    return way


def held(frames: Frames, threshold: float) -> list[Shown]:
    """Tracks, and where each was last."""
    tracker, last, shown = Tracker(settings_for(threshold)), dict[int, tuple[float, list[float], int]](), []
    for index, frame in enumerate(frames):
        for track in tracker(frame, index / FPS):
            last[track.id] = index / FPS, list(track.box), track.label
        kept = [entry for entry in last.values() if index / FPS - entry[0] <= HELD]
        boxes = np.array([box for _, box, _ in kept], np.float32).reshape(-1, 4)
        shown.append(Shown(boxes, np.array([label for _, _, label in kept], np.int64)))
    return shown


WAYS: dict[str, Way] = {
    "detections": detections_alone,
    "tracks": tracks,
    "at once": partial(tracks, confirm=1),
    "any class": of_any_class,
    "smoothed 0.4": smoothed(0.4),
    "smoothed 0.2": smoothed(0.2),
    "held": held,
}


def measure(videos: Sequence[tuple[Sequence[Truth], Frames]], way: Way, threshold: float) -> tuple[float, float, float]:
    """Precision, share of missed objects, and flicker an object in 100 frames."""
    true_positives = false_positives = objects = lost = 0
    for truths, frames in videos:
        before = np.zeros(len(truths[0].labels), bool)
        for truth, shown in zip(truths, way(frames, threshold), strict=True):
            ious = pairwise_iou(shown.boxes.astype(np.float64), truth.boxes)
            ious *= shown.labels[:, None] == truth.labels
            has_box = np.zeros(len(truth.labels), bool)
            for row in ious:
                fitting = np.flatnonzero((row >= 0.5) & truth.counts & ~has_box)
                if len(fitting):
                    has_box[fitting[np.argmax(row[fitting])]] = True
                elif not (row[~truth.counts] > 0.1).any():
                    false_positives += 1
            true_positives += int(has_box.sum())
            objects += int(truth.counts.sum())
            lost += int((before & truth.counts & ~has_box).sum())
            before = has_box
    precision = true_positives / max(1, true_positives + false_positives)
    return precision, 1 - true_positives / objects, 100 * lost / objects


def compare_on_pans(detector: Detector, data: str, split: str, images: int, *, ways: Sequence[str]) -> None:
    """Print a line for each way, and for detections from 0.5 on."""
    annotations, rng = open_data(data, split=split), np.random.default_rng(0)
    names = detector.spec.class_names
    labels = {label: names.index(name) for label, name in enumerate(annotations.class_names) if name in names}
    fitting = [i for i in range(len(annotations)) if set(annotations.ground_truth(i).labels.tolist()) & set(labels)]
    videos = []
    for index in rng.permutation(fitting)[:images]:
        pixels, truths = zip(*pan(annotations, int(index), labels, rng), strict=True)
        videos.append((truths, detector(pixels)))
    precision = measure(videos, detections_alone, 0.5)[0]
    for name in ways or WAYS:
        way = WAYS[name]
        for threshold in THRESHOLDS if name != "detections" else [0.5]:
            result = measure(videos, way, float(threshold))
            if result[0] >= precision:
                break
        else:
            print(f"{name:>12}: precision {precision:.3f} is not reached")
            continue
        print(
            f"{name:>12}  from {threshold:.3f}: precision {result[0]:.3f}, missed {result[1]:.3f}, "
            f"flicker {result[2]:.2f}",
            flush=True,
        )


def compare_on_video(detector: Detector, path: Path) -> None:
    """Print how many frames of the tracks at 0.5 detections from 0.5 on miss, and the tracks themselves."""
    tracker = Tracker(settings_for(0.5))
    present: dict[int, list[tuple[int, float]]] = defaultdict(list)
    with open_video(path) as video:
        for frame, detections in detector.stream_frames(video):
            for track in tracker(detections, frame.seconds):
                present[track.id].append((frame.index, track.score))
    frames = {name: [0, 0] for name in ("detections", "tracks")}
    length = 0
    for seen in present.values():
        first, last = seen[0][0], seen[-1][0]
        length += last - first + 1
        for name, threshold in (("detections", 0.5), ("tracks", 0.0)):
            shown = np.zeros(last - first + 2, bool)
            shown[[index - first for index, score in seen if score >= threshold]] = True
            frames[name][0] += int((~shown[:-1]).sum())
            frames[name][1] += int((shown[:-2] & ~shown[1:-1]).sum())
    for name, (missed, lost) in frames.items():
        print(
            f"{name:>12}: {len(present)} objects in {length} frames, missed {missed / length:.3f}, "
            f"flicker {100 * lost / length:.2f}"
        )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--way", choices=WAYS, action="append", default=[], help="left out, all of them")
    options = parser.parse_args()
    detector = Detector.load(options.model, score=0.05)
    if options.video is not None:
        compare_on_video(detector, options.video)
    if options.data is not None:
        compare_on_pans(detector, options.data, options.split, options.images, ways=options.way)


if __name__ == "__main__":
    main()
