from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.cli.main import run
from singleshot.errors import DataError
from singleshot.evaluate.track_figures import TrackEvaluation, evaluate_tracks
from singleshot.evaluate.track_file import TrackBoxes, mot_file, read_track_boxes

TUD = {
    "TUD-Campus": {"MOTA": 0.526462, "IDF1": 0.557659, "HOTA": 0.391397, "IDs": 7, "FP": 13, "FN": 150},
    "TUD-Stadtmitte": {"MOTA": 0.564014, "IDF1": 0.644619, "HOTA": 0.397849, "IDs": 7, "FP": 45, "FN": 452},
}
TRUE = "1,1,0,0,10,10,1\n2,1,0,0,10,10,1\n3,1,0,0,10,10,1\n4,1,0,0,10,10,1\n"


def tud_file(sequence: str, file: str) -> Path:
    spec = find_spec("motmetrics")
    if spec is None or spec.origin is None:
        pytest.skip("motmetrics, which holds TUD-Campus and TUD-Stadtmitte, is not installed")
    return Path(spec.origin).parent / "data" / sequence / file


def boxes(rows: Any) -> TrackBoxes:
    """From rows of frame, id, left, top, right, bottom."""
    table = np.asarray(rows, np.float64).reshape(-1, 6)
    return TrackBoxes(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])


@pytest.mark.parametrize("sequence", TUD)
def test_figures_of_tud(sequence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, tracks = tud_file(sequence, "gt.txt"), tud_file(sequence, "test.txt")
    out = tmp_path / "figures.json"
    assert run(["evaluate", str(truth), "--detections", str(tracks), "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert {name: figures[name] for name in TUD[sequence]} == pytest.approx(TUD[sequence], abs=1e-6)
    assert figures["protocol"] == "mot"
    assert f"MOTA   {100 * TUD[sequence]['MOTA']:.1f}%" in capsys.readouterr().out


@pytest.mark.parametrize("sequence", TUD)
def test_equal_to_motmetrics(sequence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "asfarray", np.asarray, raising=False)  # motmetrics 1.4 was made for numpy 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        motmetrics = pytest.importorskip("motmetrics", reason="the oracle is not installed")
        truth = motmetrics.io.loadtxt(tud_file(sequence, "gt.txt"), fmt="mot15-2D", min_confidence=1)
        tracks = motmetrics.io.loadtxt(tud_file(sequence, "test.txt"), fmt="mot15-2D")
        matched = motmetrics.utils.compare_to_groundtruth(truth, tracks, "iou", distth=0.5)
        names = {
            "mota": "MOTA", "idf1": "IDF1", "idp": "IDP", "idr": "IDR", "num_switches": "IDs",
            "num_false_positives": "FP", "num_misses": "FN", "num_fragmentations": "Frag", "mostly_tracked": "MT",
            "mostly_lost": "ML", "partially_tracked": "PT", "num_objects": "ground_truth", "num_frames": "frames",
            "motp": "MOTP",
        }  # fmt: skip
        expected = motmetrics.metrics.create().compute(matched, metrics=list(names), return_dataframe=False)
    expected["motp"] = 1 - expected["motp"]  # a distance there
    figures = of_files(sequence).to_json()
    assert {name: figures[ours] for name, ours in names.items()} == pytest.approx(dict(expected), abs=1e-9)


def of_files(sequence: str) -> TrackEvaluation:
    truth = read_track_boxes(tud_file(sequence, "gt.txt"), ground_truth=True)
    return evaluate_tracks(truth, read_track_boxes(tud_file(sequence, "test.txt")))


def random_tracks(seed: int) -> tuple[TrackBoxes, TrackBoxes]:
    """True tracks, and tracks with noise, gaps, switches and false positives; some frames have none of either."""
    rng = np.random.default_rng(seed)
    places, speeds = rng.uniform(0, 150, (5, 2)), rng.normal(0, 5, (5, 2))
    true, given = [], []
    names = np.arange(5) + 10
    for frame in range(1, 15):
        places += speeds
        if rng.random() < 0.2:
            rng.shuffle(names)
        present, seen = rng.random(5) < 0.8, rng.random(5) < 0.75
        for place, name, is_there, is_seen, number in zip(places, names, present, seen, range(5), strict=True):
            if is_there and frame != 4:
                true.append([frame, number, *place, *(place + 40)])
            if is_seen and frame != 9:
                given.append([frame, name, *(place + rng.normal(0, 4, 2)), *(place + 40 + rng.normal(0, 4, 2))])
    return boxes(true), boxes(given)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_equal_to_trackers(seed: int) -> None:
    if find_spec("trackers") is None:
        pytest.skip("trackers, the oracle, is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trackers.eval.box import box_iou
        from trackers.eval.clear import compute_clear_metrics
        from trackers.eval.hota import compute_hota_metrics
        from trackers.eval.identity import compute_identity_metrics
    truth, tracks = random_tracks(seed)
    frames = np.unique(np.concatenate([truth.frames, tracks.frames]))
    ids = [[part.ids[part.frames == frame] for frame in frames] for part in (truth, tracks)]
    corners = [[part.boxes_xyxy[part.frames == frame] for frame in frames] for part in (truth, tracks)]
    ious = [box_iou(true, given) for true, given in zip(*corners, strict=True)]
    expected = {**compute_hota_metrics(*ids, ious), **compute_identity_metrics(*ids, ious)}
    expected |= compute_clear_metrics(*ids, ious)
    result = evaluate_tracks(truth, tracks)
    for name, value in result.numbers.items():
        assert value == pytest.approx(expected[name], abs=1e-9), name
    for ours, theirs in {"TP": "CLR_TP", "FP": "CLR_FP", "FN": "CLR_FN", "IDs": "IDSW"}.items():
        assert result.counts[ours] == expected[theirs], ours
    assert [result.counts[name] for name in ("MT", "PT", "ML", "Frag")] == [
        expected[name] for name in ("MT", "PT", "ML", "Frag")
    ]


def test_by_hand() -> None:
    """One object of four frames; track 7 has it in two, is at IoU 1/3 in the third; track 8 has it in the fourth."""
    truth = boxes([[frame, 1, 0, 0, 10, 10] for frame in (1, 2, 3, 4)])
    tracks = boxes([[1, 7, 0, 0, 10, 10], [2, 7, 0, 0, 10, 10], [3, 7, 5, 0, 15, 10], [4, 8, 0, 0, 10, 10]])
    result = evaluate_tracks(truth, tracks)
    assert (result.counts["TP"], result.counts["FP"], result.counts["FN"], result.counts["IDs"]) == (3, 1, 1, 1)
    assert result.numbers["MOTA"] == (4 - 1 - 1 - 1) / 4
    assert result.numbers["MOTP"] == 1.0
    assert result.numbers["IDF1"] == 2 * 2 / 8
    assert (result.counts["PT"], result.counts["Frag"]) == (1, 1)


def test_the_true_tracks_are_perfect_and_no_tracks_are_nothing() -> None:
    truth, _ = random_tracks(0)
    perfect, nothing = evaluate_tracks(truth, truth), evaluate_tracks(truth, boxes([]))
    assert set(perfect.numbers.values()) == {1.0}
    assert [nothing.numbers[name] for name in ("MOTA", "IDF1", "HOTA")] == [0, 0, 0]
    assert nothing.counts["FN"] == len(truth)


def test_an_empty_ground_truth_is_an_error() -> None:
    with pytest.raises(DataError, match="ground truth"):
        evaluate_tracks(boxes([]), boxes([[1, 1, 0, 0, 1, 1]]))


@pytest.mark.parametrize(
    ("line", "token"),
    [
        ("1,2,3,4,5", "5 numbers"),
        ("1,-1,0,0,5,5", "--mot"),
        ("-1,1,0,0,5,5", "frame"),
        ("1.5,1,0,0,5,5", "whole"),
        ("1,1,0,nan,5,5", "nan"),
        ("1,1,0,1e300,5,5", "1e300"),
        ("1,1,0,0,5,five", "five"),
        ("4,1,0,0,5,5", "twice"),
    ],
)
def test_wrong_lines_are_named(line: str, token: str, tmp_path: Path) -> None:
    file = tmp_path / "tracks.txt"
    file.write_text(f"{TRUE}\n{line}\n")
    with pytest.raises(DataError, match=f"line 6.*{token}"):
        read_track_boxes(file)


def test_true_boxes_of_confidence_0_are_left_out_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sequence" / "gt").mkdir(parents=True)
    (tmp_path / "sequence" / "gt" / "gt.txt").write_text(TRUE + "5,1,0,0,10,10,0,1,1\n", encoding="utf-8-sig")
    tracks = tmp_path / "tracks.txt"
    tracks.write_text(TRUE.replace(",", " "))
    assert run(["evaluate", str(tmp_path / "sequence"), "--detections", str(tracks)]) == 0
    streams = capsys.readouterr()
    assert "boxes of confidence 0 are left out, as MOTChallenge does: 1" in streams.err
    assert "MOTA  100.0%" in streams.out


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        ([], "--mot"),
        (["--detections", "missing.txt"], "missing.txt"),
        (["--detections", "gt.txt", "--report", "page.html"], "--report"),
        (["--detections", "gt.txt", "--split", "val"], "--split"),
    ],
)
def test_wrong_requests(
    arguments: list[str],
    token: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gt.txt").write_text(TRUE)
    assert run(["evaluate", "gt.txt", *arguments]) == 2
    assert token in capsys.readouterr().err


def test_what_is_no_file_of_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "list.txt"
    for content in ("", "000001\n000002\n", "a,b,c,d,e,f\n", "1 2 3\n", "x" * 5000):
        listed.write_text(content)
        assert mot_file(listed) is None
    assert mot_file(tmp_path) is None
    tracks = tmp_path / "tracks.txt"
    tracks.write_text(TRUE)
    assert mot_file(tracks) == tracks
    assert run(["evaluate", str(listed), "--detections", str(tracks), "--protocol", "mot"]) == 2
    assert "frame,id,left" in capsys.readouterr().err


def test_a_table_of_columns_far_apart_is_looked_at_quickly(tmp_path: Path) -> None:
    """Each run of spaces that matches in several ways multiplies the time; here it would never end."""
    table = tmp_path / "table.txt"
    for end, expected in ((" x", None), ("", table)):
        table.write_text("1,1" + (20 * " " + "1") * 9 + end + "\n")
        assert mot_file(table) == expected


def test_tracks_of_confidence_0_count(tmp_path: Path) -> None:
    file = tmp_path / "tracks.txt"
    file.write_text("1,1,0,0,10,10,0\n")
    assert len(read_track_boxes(file)) == 1
