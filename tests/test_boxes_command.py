"""`ssd boxes`: the boxes that training would start from, the page, the file that training takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_fixtures import voc
from singleshot.box_search.study import MOST_TIMED
from singleshot.cli.main import run
from singleshot.commands.boxes import network_milliseconds, search_boxes
from singleshot.commands.options import BoxesOptions
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.runtime.find_model import shipped_models
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.folder import read_spec


def small_objects(folder: Path) -> Path:
    """Three training images and a test image, with one small object each."""
    images = {name: [('"dot', (5, 5, 6, 6))] for name in "abcd"}
    return voc(folder / "set", images, {"train": ["a", "b", "c"], "test": ["d"]})  # type: ignore[arg-type]


def test_the_network_is_measured() -> None:
    spec = SSD300_MOBILENETV1.with_input_size(96, 96)
    assert 0.01 < network_milliseconds(spec) < 1000


def test_the_boxes_are_those_that_training_would_start_from(tmp_path: Path) -> None:
    data, page = str(small_objects(tmp_path)), tmp_path / "b.html"
    shipped = read_spec(shipped_models()[SSDLITE320_MOBILENETV2.name]).boxes
    assert search_boxes(BoxesOptions((data,), report=page)).given.spec.boxes == shipped
    vgg = search_boxes(BoxesOptions((data,), model=SSD300_VGG16.name, report=page)).given.spec
    assert vgg.boxes == SSD300_VGG16.boxes
    larger = search_boxes(BoxesOptions((data,), input_size="640x640", report=page)).given.spec
    assert larger.boxes.maps[0].min_sizes == (2 * shipped.maps[0].min_sizes[0],)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_objects(tmp_path)
    page, figures = tmp_path / "deep/b.html", tmp_path / "b.json"
    assert run(["boxes", str(data), "--report", str(page), "--json", str(figures)]) == 0
    content = json.loads(figures.read_text())
    assert content["given"]["per_class"]['"dot']["objects"] == 3  # of train: no test image decides
    assert content["designed"]["recall"] >= content["given"]["recall"]
    assert content["designed"]["latency_ms"] is None
    assert {"boxes": content["designed"]["boxes"], "recall": 1.0}.items() <= content["curve"][-1].items()
    out = tmp_path / "run"
    command = ["train", str(data), "--boxes", str(figures), "--iterations", "1", "--batch-size", "2", "--workers", "0"]
    assert run([*command, "--init", "none", "--val-split", "none", "--out", str(out)]) == 0
    trained = read_spec(out / "last")
    assert trained.sources == tuple(content["designed"]["sources"])
    assert len(SSD(trained).default_boxes) == content["designed"]["boxes"]
    text = page.read_text()
    assert "Recall by the number of default boxes" in text
    assert "better boxes" in text
    assert "&#34;dot" in text
    assert '>"dot' not in text
    assert text.count("<img") == len(content["given"]["sources"]) + len(content["designed"]["sources"])
    (data / "JPEGImages/a.png").write_bytes(b"no image")
    assert run(["boxes", str(data), "--out", str(page)]) == 2
    assert "--report" in capsys.readouterr().err  # the name of the flag today
    assert run(["boxes", "--report", str(page)]) == 2
    assert "DATA" in capsys.readouterr().err


def test_each_network_that_is_timed_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr("singleshot.commands.boxes.network_milliseconds", lambda _spec: 1.0)
    options = BoxesOptions((str(small_objects(tmp_path)),), latency=2, report=tmp_path / "b.html")
    study = search_boxes(options, lambda *progress: said.append(progress))
    assert set(study.milliseconds.values()) == {1.0}
    assert said == [(0, MOST_TIMED), (1, MOST_TIMED)]


def test_a_limit_that_cannot_be_is_refused_before_anything_is_read() -> None:
    for options in (BoxesOptions(("nowhere",), most=0), BoxesOptions(("nowhere",), latency=-1)):
        with pytest.raises(RequestError, match=r"--most|--latency"):
            search_boxes(options)


def test_classes_too_small_to_decide_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {f"i{number}": [("dot", (4, 4, 7, 7))] * 5 for number in range(5)}
    images["i0"].append(("large", (2, 2, 38, 28)))
    data = voc(tmp_path / "set", images)
    assert run(["boxes", str(data), "--most", "3000", "--report", str(tmp_path / "b.html")]) == 0
    assert "not fitted to classes of fewer than 20 objects; their recall: large" in "".join(capsys.readouterr())
