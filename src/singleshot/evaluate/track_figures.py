"""How good tracks are: MOTA (CLEAR), IDF1 (identity) and HOTA, as MOTChallenge's TrackEval computes them.

CLEAR: Bernardin and Stiefelhagen 2008. Identity: Ristani et al. 2016. HOTA: Luiten et al., IJCV 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.assignment import assign
from singleshot.boxes import pairwise_iou
from singleshot.errors import DataError
from singleshot.evaluate.track_file import TrackBoxes
from singleshot.shapes import Float, Int64

IOU_THRESHOLD = 0.5
"""Of CLEAR and identity."""
HOTA_THRESHOLDS = np.arange(0.05, 0.99, 0.05)
"""HOTA is the mean over these IoU thresholds."""
EPSILON = float(np.finfo(float).eps)
AGAIN = 1000.0
"""Added to the similarity of a pair that matched in the frame before: a match goes on where it can (CLEAR)."""
MOSTLY = 0.8, 0.2
"""An object is mostly tracked in more than this share of its frames, mostly lost in less than that."""
SHOWN = ("MOTA", "MOTP", "IDF1", "HOTA", "DetA", "AssA")


@dataclass(frozen=True, eq=False)
class _Frame:
    """Objects and tracks of one frame: positions in the lists of all of them, and the IoU of each pair."""

    objects: Int64[np.ndarray, " n"]
    tracks: Int64[np.ndarray, " m"]
    ious: Float[np.ndarray, "n m"]


@dataclass(frozen=True)
class TrackEvaluation:
    """How good a file of tracks is.

    Attributes:
        numbers: fractions by their usual names: `MOTA` (at most 1, negative where more is wrong than right), `MOTP`
            (mean IoU of the true positives), `IDF1`, `IDP`, `IDR`, `HOTA`, `DetA`, `AssA`, `LocA`.
        counts: of boxes: `TP`, `FP`, `FN`; `IDs` (switches of identity) and `Frag` (interruptions); of objects: `MT`,
            `PT`, `ML` (mostly, partly tracked, mostly lost); `ground_truth` and `detections` (boxes), `objects`,
            `tracks`, `frames`.
    """

    numbers: Mapping[str, float]
    counts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {"protocol": "mot", **self.numbers, **self.counts, "iou_threshold": IOU_THRESHOLD}

    def lines(self) -> list[str]:
        """A table for people."""
        count = self.counts
        return [
            *(f"{name:>16}  {100 * self.numbers[name]:5.1f}%" for name in SHOWN),
            f"{count['IDs']} switches of identity, {count['FP']} false positives, {count['FN']} missed of "
            f"{count['ground_truth']} boxes",
            f"{count['objects']} objects: {count['MT']} mostly tracked, {count['ML']} mostly lost; "
            f"{count['tracks']} tracks",
        ]


def evaluate_tracks(ground_truth: TrackBoxes, tracks: TrackBoxes) -> TrackEvaluation:
    """Compare tracks with the true ones.

    Raises:
        DataError: there are no true ones.
    """
    if not len(ground_truth):
        raise DataError("the ground truth has no boxes to evaluate")
    object_ids, objects = np.unique(ground_truth.ids, return_inverse=True)
    track_ids, track_rows = np.unique(tracks.ids, return_inverse=True)
    numbers = np.unique(np.concatenate([ground_truth.frames, tracks.frames]))
    frames = []
    for true, given in zip(_rows(ground_truth, numbers), _rows(tracks, numbers), strict=True):
        ious = pairwise_iou(ground_truth.boxes_xyxy[true], tracks.boxes_xyxy[given])
        frames.append(_Frame(objects[true], track_rows[given], ious))
    shape = len(object_ids), len(track_ids)
    clear, counts = _clear(frames, shape)
    counts |= {"ground_truth": len(ground_truth), "detections": len(tracks)}
    counts |= {"objects": shape[0], "tracks": shape[1], "frames": len(frames)}
    return TrackEvaluation({**clear, **_identity(frames, shape), **_hota(frames, shape)}, counts)


def _rows(boxes: TrackBoxes, frames: Int64[np.ndarray, " f"]) -> list[Int64[np.ndarray, " n"]]:
    """The rows of each frame."""
    order = np.argsort(boxes.frames, kind="stable")
    return np.split(order, np.searchsorted(boxes.frames[order], frames[1:]))


def _lengths(frames: Sequence[_Frame], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """In how many frames each object and each track is."""
    objects, tracks = np.zeros(shape[0]), np.zeros(shape[1])
    for frame in frames:
        objects[frame.objects] += 1
        tracks[frame.tracks] += 1
    return objects, tracks


def _clear(frames: Sequence[_Frame], shape: tuple[int, int]) -> tuple[dict[str, float], dict[str, int]]:
    """MOTA and MOTP, and what they count.

    Matches are made frame by frame at IoU 0.5; those of the frame before go on where they can.
    """
    last, before = np.full(shape[0], -1), np.full(shape[0], -1)  # track of each object: ever, and one frame before
    matched_frames, starts = np.zeros(shape[0]), np.zeros(shape[0])
    true_positives = switches = 0
    iou_sum = 0.0
    for frame in frames:
        if not len(frame.objects):  # as TrackEval: the matches before such a frame may still go on
            continue
        similarity = frame.ious + AGAIN * (frame.tracks == before[frame.objects, None])
        similarity[frame.ious < IOU_THRESHOLD - EPSILON] = 0
        rows, columns = assign(similarity)
        valid = similarity[rows, columns] > EPSILON
        rows, columns = rows[valid], columns[valid]
        objects, tracks = frame.objects[rows], frame.tracks[columns]
        switches += int(((last[objects] >= 0) & (last[objects] != tracks)).sum())
        starts[objects] += before[objects] < 0
        matched_frames[objects] += 1
        last[objects] = tracks
        if len(frame.tracks):  # as above
            before[:] = -1
            before[objects] = tracks
        true_positives += len(rows)
        iou_sum += float(frame.ious[rows, columns].sum())
    lengths, track_lengths = _lengths(frames, shape)
    total, given = int(lengths.sum()), int(track_lengths.sum())
    share = matched_frames / lengths
    mostly = int((share > MOSTLY[0]).sum()), int((share < MOSTLY[1]).sum())
    false_positives = given - true_positives
    counts = {"TP": true_positives, "FP": false_positives, "FN": total - true_positives, "IDs": switches}
    counts |= {"Frag": int(np.maximum(starts - 1, 0).sum()), "MT": mostly[0], "ML": mostly[1]}
    counts["PT"] = shape[0] - sum(mostly)
    mota = (true_positives - false_positives - switches) / total
    return {"MOTA": mota, "MOTP": iou_sum / max(1, true_positives)}, counts


def _identity(frames: Sequence[_Frame], shape: tuple[int, int]) -> dict[str, float]:
    """IDF1, and its precision and recall: each object is assigned one track for the whole video, the best for all."""
    together = np.zeros(shape)
    for frame in frames:
        rows, columns = np.nonzero(frame.ious >= IOU_THRESHOLD)
        together[frame.objects[rows], frame.tracks[columns]] += 1
    lengths, track_lengths = _lengths(frames, shape)
    true_positives = float(together[assign(together)].sum())
    return {
        "IDF1": 2 * true_positives / float(lengths.sum() + track_lengths.sum()),
        "IDP": true_positives / max(1.0, float(track_lengths.sum())),
        "IDR": true_positives / float(lengths.sum()),
    }


def _hota(frames: Sequence[_Frame], shape: tuple[int, int]) -> dict[str, float]:
    """HOTA = mean over thresholds of sqrt(DetA AssA), and its parts.

    Matches prefer pairs that belong together over the whole video (Eq. 11 of the paper, the alignment score).
    """
    lengths, track_lengths = _lengths(frames, shape)
    overlap = np.zeros(shape)
    for frame in frames:
        union = frame.ious.sum(0)[None] + frame.ious.sum(1)[:, None] - frame.ious
        shares = np.divide(frame.ious, union, out=np.zeros_like(frame.ious), where=union > EPSILON)
        overlap[frame.objects[:, None], frame.tracks] += shares
    alignment = overlap / (lengths[:, None] + track_lengths - overlap)
    pairs, ious = [], []  # of all matches: object and track as one number
    for frame in frames:
        rows, columns = assign(alignment[frame.objects[:, None], frame.tracks] * frame.ious)
        pairs.append(frame.objects[rows] * shape[1] + frame.tracks[columns])
        ious.append(frame.ious[rows, columns])
    all_ious = np.concatenate(ious)
    matches = all_ious >= HOTA_THRESHOLDS[:, None] - EPSILON
    true_positives, iou_sum = matches.sum(axis=1), (all_ious * matches).sum(axis=1)
    detection = true_positives / (lengths.sum() + track_lengths.sum() - true_positives)
    pair, pair_of = np.unique(np.concatenate(pairs), return_inverse=True)
    both = lengths[pair // max(1, shape[1])] + track_lengths[pair % max(1, shape[1])]
    together = np.stack([np.bincount(pair_of, weights=match, minlength=len(pair)) for match in matches])
    association = (together**2 / np.maximum(1, both - together)).sum(axis=1) / np.maximum(1, true_positives)
    location = np.where(true_positives > 0, iou_sum / np.maximum(1, true_positives), 1.0)
    parts = {"HOTA": np.sqrt(detection * association), "DetA": detection, "AssA": association, "LocA": location}
    return {name: float(values.mean()) for name, values in parts.items()}
