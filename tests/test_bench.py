"""The measuring instruments: arithmetic known from the paper, turns, ratios, refusals. No time is asserted."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch

from singleshot.cli.main import run
from singleshot.errors import MachineError, UnknownNameError
from singleshot.lab.bench import machine, peers, processes, report
from singleshot.lab.bench.contest import Contestant, Row, compete, ratio
from singleshot.lab.bench.cost import cost
from singleshot.lab.bench.scenes import PASSING, SPREAD, image, resemble_trained
from singleshot.lab.bench.stages import stage_milliseconds
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2

if TYPE_CHECKING:
    from pathlib import Path


def test_operations_are_those_of_the_paper() -> None:
    """62.7 GFLOP, of which four fifths and more are the base (`REFERENCE`, section 8; paper, section 3.7)."""
    vgg = cost(SSD300_VGG16)
    assert vgg.operations / 1e9 == pytest.approx(62.7, abs=0.1)
    assert vgg.base_share > 0.8
    assert vgg.depthwise == 0
    assert 0 < cost(SSDLITE320_MOBILENETV2).depthwise < 0.1


def test_base_extra_maps_and_heads_are_timed_apart() -> None:
    spent = stage_milliseconds(SSDLITE320_MOBILENETV2, threads=1, times=2)
    assert list(spent) == ["backbone", "extras", "heads"]
    assert spent["backbone"] > spent["extras"] > 0
    assert spent["heads"] > 0


def test_everyone_is_measured_once_a_round_in_turning_order() -> None:
    calls: list[str] = []

    def named(name: str) -> Contestant:
        return Contestant(name, "f", {"whole": lambda: calls.append(name)})

    rows = compete([named("a"), named("b"), named("c")], 4)
    assert [len(row.times["whole"]) for row in rows] == [4, 4, 4]
    firsts = [name for before, name in pairwise(calls) if before != name]
    assert set(firsts) == {"a", "b", "c"}


def rows_of(*medians: float, family: str = "f") -> list[Row]:
    return [
        Row(
            Contestant(f"n{place}", family, {}, 7, "3 x 4", reference=family == "f" and place == 0),
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
    report.plot(found, {"n1": 0.743}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


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
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_whole_processes_are_timed_and_weighed() -> None:
    seconds, megabytes = processes.cold_start("x = bytearray(50_000_000)", times=1)
    assert seconds > 0
    if sys.platform.startswith("linux"):
        assert 50 < megabytes < 200
    with pytest.raises(MachineError, match=r"ended with 3: .*alas"):
        processes.cold_start("import sys; sys.stderr.write('alas'); sys.exit(3)", times=1)


def test_a_short_run_compares_with_torchvision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "ssdlite320-mobilenetv2", "--rounds", "1", "--threads", "1", "--loaded"]
    assert run([*arguments, "--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]) == 0
    told = capsys.readouterr().out
    names = [
        "torchvision ssdlite320_mobilenet_v3_large, eager fp32",
        *(f"ours ssdlite320-mobilenetv2, {precision}" for precision in ("fp32", "bf16", "int8")),
    ]
    assert all(told.count(f"| {name} |") == 2 for name in names)
    measured = json.loads((tmp_path / "b.json").read_text())
    assert [row["name"] for row in measured["rows"]] == names
    assert all(row["post_worst_ratio"] > 0 for row in measured["rows"])
    assert (tmp_path / "b.png").is_file()
