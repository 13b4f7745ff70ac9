"""`ssd boxes`: coverage as it is, designs within a budget, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import voc
from singleshot.cli.main import run
from singleshot.coverage import adapt as adapting
from singleshot.data.classes import join
from singleshot.design.tiling import designed, measured
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.spec import SSDLITE320_MOBILENETV2
from truth_sets import squares, truth_set

if TYPE_CHECKING:
    from pathlib import Path

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
DATA = truth_set(np.concatenate([squares(100, 20, seed=1), squares(100, 120, seed=2)]), [0] * 100 + [1] * 100)


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


def test_designs_cover_more_and_keep_to_the_budget() -> None:
    free, reason = designed(LITE, DATA)
    assert free is not None
    assert "default boxes adapted" in reason
    assert free.coverage.shares.min() > 0.9
    small, _ = designed(LITE, DATA, most=4000)
    assert small is not None
    assert small.coverage.num_default_boxes <= 4000
    assert len(SSD(small.spec).default_boxes) == small.coverage.num_default_boxes
    assert 0 < small.coverage.shares[0] < free.coverage.shares[0]
    none, reason = designed(LITE, DATA, most=10)
    assert none is None
    assert "kept" in reason
    with pytest.raises(RequestError, match="--most is a number of boxes, got 0"):
        designed(LITE, DATA, most=0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = {name: [('"dot', (5, 5, 9, 8))] for name in "abcd"}
    data = voc(tmp_path / "set", pictures, {"train": ["a", "b", "c"], "test": ["d"]})  # type: ignore[arg-type]
    page, figures = tmp_path / "deep/b.html", tmp_path / "b.json"
    assert run(["boxes", str(data), "--out", str(page), "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["given"]["per_class"]['"dot']["objects"] == 3  # of train: no test picture decides
    assert found["designed"]["covered"] > found["given"]["covered"]
    text = page.read_text()
    assert "&quot;dot" in text
    assert '"dot' not in text
    assert text.count("<img") == len(found["given"]["sources"]) + len(found["designed"]["sources"])
    (data / "JPEGImages/a.png").write_bytes(b"no picture")
    assert run(["boxes", str(data), "--out", str(page)]) == 2
    assert run(["boxes", "--out", str(page)]) == 2
    assert "which data?" in capsys.readouterr().err


def test_a_set_that_is_judged_by_a_sample_has_shapes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "MOST_TRUTHS", 60)
    pieces = [truth_set(squares(30, 120, seed=seed), [1] * 30) for seed in range(5)]
    found = measured(LITE, join(pieces)).to_json()
    (square,) = found["by_shape"]
    assert square["objects"] == found["per_class"]["plate"]["objects"] == 60
    assert square["covered"] == 1
