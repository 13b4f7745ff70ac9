"""Evaluate a file of tracks against the true ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from singleshot.commands.options import EvaluateOptions
from singleshot.errors import RequestError
from singleshot.evaluate.track_figures import TrackEvaluation, evaluate_tracks
from singleshot.evaluate.track_file import mot_file, read_track_boxes

MOT = "mot"


def are_tracks(options: EvaluateOptions) -> bool:
    """Whether tracks are to be evaluated: it was said, or the data are a file of tracks."""
    return options.protocol == MOT or (options.protocol is None and mot_file(options.data) is not None)


def evaluate_track_file(
    options: EvaluateOptions, *, on_note: Callable[[str], None] = lambda _text: None
) -> TrackEvaluation:
    """Compare `--detections FILE` with the true tracks.

    Args:
        options: what to evaluate; the data are a MOTChallenge file, or a folder with `gt/gt.txt`.
        on_note: called with lines for people.

    Raises:
        RequestError: no file of tracks, or an option that is for detections alone.
        DataError: a file is wrong, or the ground truth is empty.
    """
    source = options.source
    if source.detections is None:
        raise RequestError(
            "tracks are evaluated from a file, give it with --detections tracks.txt: ssd track VIDEO --mot tracks.txt "
            "writes one"
        )
    for name, value in (("--report", options.report), ("--against", options.against), ("--split", source.split)):
        if value is not None:
            raise RequestError(f"{name} is for detections of images, not for tracks")
    truth_file = mot_file(options.data)
    if truth_file is None:
        expected = "expected lines of frame,id,left,top,width,height, or a folder with gt/gt.txt"
        raise RequestError(f"{options.data} has no tracks in MOTChallenge's format: {expected}")
    if not Path(source.detections).is_file():
        raise RequestError(f"--detections {source.detections}: there is no such file")
    truth = read_track_boxes(truth_file, ground_truth=True)
    if truth.ignored:
        on_note(f"{truth_file}: boxes of confidence 0 are left out, as MOTChallenge does: {truth.ignored}")
    tracks = read_track_boxes(source.detections)
    on_note(f"{len(truth)} boxes of {truth_file}, {len(tracks)} of {source.detections}")
    return evaluate_tracks(truth, tracks)
