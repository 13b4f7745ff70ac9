"""`ssd boxes`: coverage as it is, designs within a budget, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import voc
from ground_truth_sets import ground_truth_set, squares
from singleshot.box_search import adapt as adapting
from singleshot.cli.main import run
from singleshot.commands.boxes_latency import network_milliseconds
from singleshot.commands.boxes_study import study
from singleshot.commands.boxes_tiling import measured
from singleshot.data.classes import join
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.variants import SSD300_MOBILENETV1, SSDLITE320_MOBILENETV2
from singleshot.weights.folder import read_spec

if TYPE_CHECKING:
    from pathlib import Path

    from singleshot.spec import ModelSpec

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
DATA = ground_truth_set(np.concatenate([squares(100, 20, seed=1), squares(100, 120, seed=2)]), [0] * 100 + [1] * 100)


def test_coverage_by_class_size_and_shape() -> None:
    found = measured(LITE, DATA).to_json()
    assert found["boxes"] == 3234
    assert found["per_class"]["dot"] == {"objects": 100, "covered": 0.0, "boxes_an_object": 0.0}
    assert found["per_class"]["plate"]["covered"] == 1
    assert [(one["objects"], one["covered"]) for one in found["by_size"]] == [(100, 0.0), (77, 1.0), (23, 1.0)]
    (square,) = found["by_shape"]
    assert (square["from"], square["to"], square["objects"], square["covered"]) == (
        pytest.approx(2 / 3), 1.5, 200, 0.5,
    )  # fmt: skip


def test_designs_are_worth_more_and_keep_to_the_budget() -> None:
    found = study(LITE, DATA)
    assert found.designed is not None
    assert "default boxes designed" in found.remarks[0]
    assert found.designed.coverage.num_default_boxes <= 3234
    assert found.designed.coverage.shares.min() > 0.8
    small = study(LITE, DATA, most=1000).designed
    assert small is not None
    assert small.coverage.num_default_boxes <= 1000
    assert len(SSD(small.spec).default_boxes) == small.coverage.num_default_boxes
    assert 0 < small.coverage.shares[0] < found.designed.coverage.shares[0]
    with pytest.raises(RequestError, match="--most is a number of boxes, 1 or more, got 0"):
        study(LITE, DATA, most=0)


def test_more_boxes_than_there_are_come_only_where_a_class_is_neglected() -> None:
    tiny = ground_truth_set(np.concatenate([squares(100, 9, seed=1), squares(100, 120, seed=2)]), [0] * 100 + [1] * 100)
    found = study(LITE, tiny)
    assert found.designed is not None
    assert 3234 < found.designed.coverage.num_default_boxes <= 5 * 3234
    assert found.designed.coverage.shares.min() >= 1 / 3
    smaller = [one for one in found.curve if one.boxes < found.designed.coverage.num_default_boxes]
    assert max(one.shares.min() for one in smaller) < 1 / 3
    assert study(LITE, tiny, most=3234).curve[-1].spec == found.curve[-1].spec


def test_boxes_that_are_as_good_as_any_are_kept() -> None:
    first = study(LITE, DATA).designed
    assert first is not None
    again = study(first.spec, DATA)
    assert again.designed is None
    assert "kept: no others within the budget are worth more" in again.remarks[0]
    none = study(LITE, ground_truth_set([], []), most=1)
    assert none.designed is None
    assert none.remarks == ("default boxes kept: no ground-truth boxes to fit them to",)


def by_boxes(spec: ModelSpec) -> float:
    """Milliseconds of a machine on which a thousand boxes cost one, and all else two."""
    return 2 + measured(spec, DATA).coverage.num_default_boxes / 1000


def test_a_design_shrinks_until_the_network_is_fast_enough() -> None:
    free = study(LITE, DATA, latency=10, stopwatch=by_boxes)
    assert free.designed is not None
    assert free.designed.spec == study(LITE, DATA).designed.spec  # type: ignore[union-attr]
    found = study(LITE, DATA, latency=3.5, stopwatch=by_boxes)
    assert found.designed is not None
    count = found.designed.coverage.num_default_boxes
    assert 1400 < count <= 1500
    content = found.to_json()
    assert content["designed"]["latency_ms"] == pytest.approx(2 + count / 1000)
    assert content["given"]["latency_ms"] == pytest.approx(5.234)
    assert [one["latency_ms"] for one in content["curve"] if one["boxes"] == count] == [pytest.approx(2 + count / 1000)]
    assert "of 3.5 allowed" in found.remarks[-1]
    with pytest.raises(RequestError, match=r"--latency 1: the least is 2\.\d+ ms, with \d+ default boxes"):
        study(LITE, DATA, latency=1, stopwatch=by_boxes)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(RequestError, match="--latency is a time in milliseconds above 0"):
            study(LITE, DATA, latency=wrong, stopwatch=by_boxes)


def test_good_boxes_that_are_too_slow_are_not_kept() -> None:
    first = study(LITE, DATA).designed
    assert first is not None
    found = study(first.spec, DATA, latency=3, stopwatch=by_boxes).designed
    assert found is not None
    assert found.coverage.num_default_boxes <= 1000


def test_the_network_is_measured() -> None:
    spec = SSD300_MOBILENETV1.with_input_size(96, 96)
    assert 0.01 < network_milliseconds(spec) < 1000


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {name: [('"dot', (5, 5, 9, 8))] for name in "abcd"}
    data = voc(tmp_path / "set", images, {"train": ["a", "b", "c"], "test": ["d"]})  # type: ignore[arg-type]
    page, figures = tmp_path / "deep/b.html", tmp_path / "b.json"
    assert run(["boxes", str(data), "--out", str(page), "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["given"]["per_class"]['"dot']["objects"] == 3  # of train: no test image decides
    assert found["designed"]["covered"] > found["given"]["covered"]
    assert found["designed"]["latency_ms"] is None
    assert {"boxes": found["designed"]["boxes"], "covered": 1.0}.items() <= found["curve"][-1].items()
    out = tmp_path / "run"
    command = ["train", str(data), "--boxes", str(figures), "--iterations", "1", "--batch-size", "2", "--workers", "0"]
    assert run([*command, "--init", "none", "--val-split", "none", "--out", str(out)]) == 0
    trained = read_spec(out / "last")
    assert (trained.sources, len(SSD(trained).default_boxes)) == (
        tuple(found["designed"]["sources"]), found["designed"]["boxes"],
    )  # fmt: skip
    text = page.read_text()
    assert "What boxes buy" in text
    assert "the designed boxes" in text
    assert "&quot;dot" in text
    assert '>"dot' not in text
    assert text.count("<img") == len(found["given"]["sources"]) + len(found["designed"]["sources"])
    (data / "JPEGImages/a.png").write_bytes(b"no image")
    assert run(["boxes", str(data), "--out", str(page)]) == 2
    assert run(["boxes", "--out", str(page)]) == 2
    assert "which data?" in capsys.readouterr().err


def test_a_set_that_is_judged_by_a_sample_has_shapes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "MOST_GROUND_TRUTH", 60)
    pieces = [ground_truth_set(squares(30, 120, seed=seed), [1] * 30) for seed in range(5)]
    found = study(LITE, join(pieces))
    assert found.remarks[0].endswith("(judged by 2 of 5 images)")
    found = found.given.to_json()
    (square,) = found["by_shape"]
    assert square["objects"] == found["per_class"]["plate"]["objects"] == 60
    assert square["covered"] == 1
