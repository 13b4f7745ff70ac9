"""The measuring instruments: arithmetic known from the paper, turns, ratios, refusals. No time is asserted."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING

import pytest
import torch

from data_fixtures import voc
from singleshot import console
from singleshot.cli.main import run
from singleshot.data.recognise import open_data
from singleshot.errors import MachineError, UnknownNameError
from singleshot.lab.bench import augmentation, end_to_end, machine, peers, report
from singleshot.lab.bench.limits import count_operations, stage_milliseconds
from singleshot.lab.bench.scenes import PASSING, SPREAD, image, resemble_trained
from singleshot.lab.bench.timing import Case, CaseTimes, ratio, run_benchmark
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2

if TYPE_CHECKING:
    from pathlib import Path


def test_operations_are_those_of_the_paper() -> None:
    """62.7 GFLOP (`REFERENCE`, section 8; paper, section 3.7)."""
    assert count_operations(SSD300_VGG16) / 1e9 == pytest.approx(62.7, abs=0.1)


def test_base_extra_maps_and_heads_are_timed_apart() -> None:
    spent = stage_milliseconds(SSDLITE320_MOBILENETV2, threads=1, times=2)
    assert list(spent) == ["backbone", "extras", "heads"]
    assert spent["backbone"] > spent["extras"] > 0
    assert spent["heads"] > 0


def test_everyone_is_measured_once_a_round_in_turning_order() -> None:
    calls: list[str] = []

    def named(name: str) -> Case:
        return Case(name, "f", {"whole": lambda: calls.append(name)})

    rows = run_benchmark([named("a"), named("b"), named("c")], 4)
    assert [len(row.times["whole"]) for row in rows] == [4, 4, 4]
    turns = [name for name, _ in groupby(calls)]
    assert "".join(turns) == "abc" + "abc" + "bca" + "cab" + "abc"  # the first to learn who is slow


def rows_of(*medians: float, family: str = "f") -> list[CaseTimes]:
    return [
        CaseTimes(
            Case(f"n{place}", family, {}, 7, "3 x 4", reference=family == "f" and place == 0),
            {"whole": [seconds, seconds, 9.0], "network": [seconds / 2]},
        )
        for place, seconds in enumerate(medians)
    ]


def test_ratios_are_to_the_reference_of_the_family() -> None:
    rows = [*rows_of(0.4, 0.1), *rows_of(1.0, family="other")]
    assert ratio(rows[1], rows[0], "whole") == pytest.approx(4)
    assert ratio(rows[1], rows[0], "post") is None
    found = report.values(rows)
    assert [one["ratio"] for one in found[:2]] == pytest.approx([1, 4])
    assert found[2]["ratio"] is None
    assert found[0]["outside"] == pytest.approx(0.5)
    assert found[0]["whole_ms"] == pytest.approx(400)


def test_tables_and_plot(tmp_path: Path) -> None:
    found = report.values(rows_of(0.4, 0.1))
    assert "| n1 | 100.00 |" in report.table(found)
    seventh = report.table_seven(found, {"n1": 0.743})
    assert "| n1 | 74.3 | 10.0 |  | 7 | 3 x 4 |" in seventh
    assert report.plot(found, {"n1": 0.743}).startswith(b"\x89PNG")


def test_random_heads_become_as_sure_of_background_as_trained_ones() -> None:
    head = torch.nn.Conv2d(8, 2 * 5, 1)
    features = torch.randn(1, 8, 30, 30, generator=torch.Generator().manual_seed(0))

    def logits() -> torch.Tensor:
        return head(features).permute(0, 2, 3, 1).reshape(-1, 5).detach()

    resemble_trained([head], logits(), 5, 0.01)
    passing = int((logits().softmax(dim=1)[:, 1:] > 0.01).sum())
    assert abs(passing - PASSING) <= 2
    assert float(logits()[:, 1:].std()) == pytest.approx(SPREAD, rel=1e-3)
    assert image().shape == (375, 500, 3)


def test_a_busy_machine_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(machine, "other_load", lambda _seconds: 0.9)
    with pytest.raises(MachineError, match=r"other programs use 0\.9 cores, more than 0\.3"):
        machine.require_quiet()
    assert run(["bench", "ssdlite320-mobilenetv2"]) == 4
    assert "with --loaded" in capsys.readouterr().err
    assert machine.processor()


def test_wrong_requests_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match="torchvision"):
        list(peers.peers(["torchvison"], [], threads=1))
    for arguments, message in (
        (["--threads", "0"], "at least 1"),
        (["nothing", "--loaded"], "there is no folder nothing, and no model of that name"),
        (["--json", str(tmp_path)], "--json"),
    ):
        assert run(["bench", *arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert message in lines[-1]
        assert [line for line in lines if line.startswith("ssd: ")] == lines[-1:]


def test_whole_processes_are_timed_and_weighed() -> None:
    seconds, megabytes = end_to_end.cold_start("x = bytearray(50_000_000)", times=1)
    assert seconds > 0
    if sys.platform.startswith("linux"):
        assert 50 < megabytes < 200
    with pytest.raises(MachineError, match=r"ended with 3: .*alas"):
        end_to_end.cold_start("import sys; sys.stderr.write('alas'); sys.exit(3)", times=1)


def test_a_short_run_compares_with_torchvision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "ssdlite320-mobilenetv2", "--rounds", "1", "--threads", "1", "--loaded"]
    assert run([*arguments, "--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]) == 0
    captured = capsys.readouterr()
    told = captured.out
    assert captured.err.splitlines() == [
        "preparing ssdlite320-mobilenetv2",
        "preparing torchvision",
        "timing: round 1 of 1",
    ]  # where it is, also on a pipe
    names = [
        "torchvision ssdlite320_mobilenet_v3_large, eager fp32",
        *(f"ours ssdlite320-mobilenetv2, {precision}" for precision in ("fp32", "bf16", "int8")),
    ]
    assert all(told.count(f"| {name} |") == 2 for name in names)
    measured = json.loads((tmp_path / "b.json").read_text())
    assert [row["name"] for row in measured["rows"]] == names
    assert all(row["post_worst_ratio"] > 0 for row in measured["rows"])
    assert (tmp_path / "b.png").is_file()


def test_columns_that_no_row_has_are_left_out() -> None:
    row = dict.fromkeys(("post_ms", "post_worst_ms", "ratio", "post_ratio", "post_worst_ratio")) | {
        "name": "ours", "whole_ms": 2.0, "p95_ms": 2.5, "network_ms": 1.5, "outside": 0.25, "batch8_rate": 700.0,
    }  # fmt: skip
    head, rule, cells = report.table([row]).splitlines()
    assert head == "| | median, ms | p95, ms | network, ms | time not in the network | images/s, batch 8 |"
    assert rule.count("---") == 6
    assert cells == "| ours | 2.00 | 2.50 | 1.50 | 25% | 700 |"


def test_a_pipe_has_a_line_for_each_stage_and_now_and_then_within_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.stages(console.remarks(), every=30) as on_stage:
        for number in range(1, 7):
            on_stage(f"timing: round {number} of 6")
            now += 11
        on_stage("starting from nothing")
    assert capsys.readouterr().err.splitlines() == [
        "timing: round 1 of 6", "timing: round 4 of 6", "starting from nothing",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def eager() -> dict[str, torch.Tensor]:
    """What torchvision's own network gives for the scene."""
    (case,) = peers.eager(LITE, threads=1)
    return case.works["network"]()  # type: ignore[return-value]


LITE = "ssdlite320_mobilenet_v3_large"


def test_other_engines_run_torchvisions_network(
    monkeypatch: pytest.MonkeyPatch, eager: dict[str, torch.Tensor]
) -> None:
    graph = peers._Peer(LITE).as_onnx()
    monkeypatch.setattr(peers._Peer, "as_onnx", lambda _peer: graph)
    cases = [case for name in ("onnxruntime", "openvino") for case in peers.AGAINST[name](LITE, threads=1)]
    assert len(cases) == 3
    cases += peers.opencv(LITE, threads=1)  # where this OpenCV can load it
    for case in cases:
        outputs = case.works["network"]()
        tolerance = 0.2 if "bf16" in case.name else 2e-3
        for key, expected in eager.items():
            assert outputs[key].shape == expected.shape
            difference = (outputs[key] - expected).abs()
            assert float(difference.mean()) < tolerance * float(expected.std()), (case.name, key)
        assert {"boxes", "scores", "labels"} <= set(case.works["whole"]()[0])


def test_torchvision_at_its_best_settings(monkeypatch: pytest.MonkeyPatch, eager: dict[str, torch.Tensor]) -> None:
    monkeypatch.setattr(torch, "compile", lambda heads, **_options: heads)  # compiling takes minutes
    cases = list(peers.best_settings(LITE, threads=1))
    assert [case.name.rpartition(", ")[2] for case in cases] == ["channels-last", "channels-last bf16", "compiled"]
    for case in cases:
        logits = case.works["network"]()["cls_logits"]
        assert logits.dtype == torch.float32
        error = float((logits - eager["cls_logits"]).abs().mean() / eager["cls_logits"].std())
        assert error < (0.2 if "bf16" in case.name else 1e-3), case.name
        assert case.family == "ssdlite320-mobilenetv2"


def test_faster_rcnn_detects_and_ultralytics_is_left_out_where_it_is_not_there() -> None:
    (case,) = peers.peers(["fasterrcnn", "ultralytics"], [], threads=1)
    assert case.family == "fasterrcnn"
    assert {"boxes", "scores", "labels"} <= set(case.works["whole"]()[0])


def test_augmentation_is_measured_beside_torchvisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = voc(tmp_path / "set", {f"p{i}": [("cat", (2 + i, 3, 30 + i, 26))] for i in range(3)})
    command = ["bench", "--augmentation", "--data", str(data), "--rounds", "1", "--loaded"]
    assert run([*command, "--json", str(tmp_path / "a.json")]) == 0
    rates = json.loads((tmp_path / "a.json").read_text())
    assert rates["rounds"] == 1
    assert all(rates[name] > 0 for name in ("exact", "fast", "torchvision", "decoded"))
    assert rates["ratio_to_torchvision"] == pytest.approx(rates["fast"] / rates["torchvision"])
    assert rates["exact_ratio_to_torchvision"] == pytest.approx(rates["exact"] / rates["torchvision"])
    assert "images/s on one core" in capsys.readouterr().out
    assert run(["bench", "--augmentation"]) == 2
    assert "--data" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_torchvisions_samples_keep_boxes_on_their_objects(tmp_path: Path) -> None:
    data = voc(tmp_path / "set", {"a": [("cat", (10, 8, 30, 26))]})
    sample = augmentation.torchvision_samples(open_data(data), (64, 80), (104, 117, 123))
    pixels, target = sample(0)
    assert pixels.shape == (3, 64, 80)
    assert set(target) == {"boxes", "labels"}
    assert len(target["boxes"]) == len(target["labels"])
