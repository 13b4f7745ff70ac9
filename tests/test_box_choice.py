"""The default boxes of a run: what each choice of `--boxes` gives, and files of `ssd boxes`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ground_truth_sets import ground_truth_set, squares
from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.ssd import SSD
from singleshot.spec import BoxSpec, MapBoxes, ModelSpec
from singleshot.ssd.default_boxes import with_paper_scales
from singleshot.train.box_choice import boxes_from_file, choose_boxes
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, SSD320_LITE, SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
PAPER = (32, 64, 118, 173, 227, 282)


def on_paper_scales(spec: ModelSpec) -> BoxSpec:
    return with_paper_scales(spec.boxes, spec.input_size_hw)


def smallest(boxes: BoxSpec) -> tuple[float, ...]:
    return tuple(entry.min_sizes[0] for entry in boxes.maps)


def chosen(spec: ModelSpec, **options: object) -> tuple[ModelSpec, list[str]]:
    """With large plates and dots of a fifth of the image, all of which the default boxes cover."""
    boxes = [(20 + i, 20, 240 + i, 240) for i in range(20)] + [(130 + i, 130, 194 + i, 194) for i in range(20)]
    data = ground_truth_set(boxes, [1] * 20 + [0] * 20)
    defaults = {"choice": "auto", "scales": "paper", "source": None}
    boxes = choose_boxes(spec, data, **{**defaults, **options})  # type: ignore[arg-type]
    return boxes.spec, list(boxes.lines)


def test_the_papers_scales_are_those_of_the_authors_script() -> None:
    assert smallest(on_paper_scales(SSD300_VGG16)) == smallest(SSD300_VGG16.boxes)
    assert smallest(on_paper_scales(LITE)) == PAPER
    lengths = [(entry.max_sizes, entry.boxes_per_cell) for entry in on_paper_scales(LITE).maps]
    assert lengths == [((high,), 6) for high in (*PAPER[1:], 320)]
    assert len(SSD(replace(LITE, boxes=on_paper_scales(LITE)), seed=0).default_boxes) == 3234


def test_maps_of_another_kind_keep_their_sizes() -> None:
    assert on_paper_scales(SSD300_MOBILENETV1) == SSD300_MOBILENETV1.boxes


def test_boxes_that_fit_are_set_to_the_recipes_scales_and_said() -> None:
    spec, lines = chosen(LITE)
    assert smallest(spec.boxes) == PAPER
    assert any("from a tenth of the input up" in line for line in lines)
    assert "dot" in lines[0]
    assert chosen(LITE, scales="model")[0] == LITE
    assert chosen(LITE, choice="keep")[0] == LITE


def test_boxes_that_miss_a_class_are_fitted_instead() -> None:
    data = ground_truth_set([(10 + 9 * i, 10, 19 + 9 * i, 19) for i in range(30)], [0] * 30)
    boxes = choose_boxes(LITE, data, choice="auto", scales="paper", source=None)
    assert smallest(boxes.spec.boxes)[0] < 32
    assert any("fitted to the data" in line for line in boxes.lines)
    rows = [line.partition(":")[0] for line in boxes.lines if "default box of IoU" in line]
    assert len(rows) == len(set(rows)) > 0  # the recall table is printed once
    assert boxes.recall.num_default_boxes == len(SSD(boxes.spec, seed=0).default_boxes)


def test_trained_heads_keep_the_boxes_they_know(tmp_path: Path) -> None:
    trained = replace(LITE, boxes=on_paper_scales(LITE), class_names=("a", "b"))
    save_network(tmp_path / "model", SSD(trained, seed=0), card="")
    for scales in ("paper", "model"):
        spec, _ = chosen(LITE, source=tmp_path / "model", scales=scales)
        assert smallest(spec.boxes) == PAPER
        assert spec.class_names == LITE.class_names
    untouched = tmp_path / "untouched"
    save_network(untouched, SSD(LITE, seed=0), card="")
    assert chosen(LITE, source=untouched)[0] == LITE


def test_boxes_on_the_papers_scales_must_fit_more_than_the_architectures_own(tmp_path: Path) -> None:
    def sizes(side: float, **options: object) -> tuple[float, ...]:
        boxes = np.concatenate([squares(100, side, seed=1), squares(100, 120, seed=2)])
        data = ground_truth_set(boxes, [0] * 100 + [1] * 100)
        boxes = choose_boxes(LITE, data, **{"choice": "auto", "source": None, **options})  # type: ignore[arg-type]
        sizes = smallest(boxes.spec.boxes)
        assert any("fitted" in line for line in boxes.lines) == (sizes not in (PAPER, smallest(LITE.boxes)))
        return sizes

    fitted = sizes(23.5, scales="paper")  # 39% of the dots
    assert fitted[0] < 32
    assert sizes(23.6, scales="paper") == PAPER  # 40%
    save_network(tmp_path / "model", SSD(replace(LITE, boxes=on_paper_scales(LITE)), seed=0), card="")
    assert sizes(23.5, scales="model", source=tmp_path / "model")[0] == fitted[0]
    assert sizes(23.5, scales="model", source=tmp_path / "model", choice="keep") == PAPER


def test_boxes_of_trained_heads_grow_with_the_input(tmp_path: Path) -> None:
    save_network(tmp_path / "model", SSD(replace(LITE, boxes=on_paper_scales(LITE)), seed=0), card="")
    spec, _ = chosen(LITE.with_input_size(640, 640), source=tmp_path / "model", scales="model")
    assert smallest(spec.boxes) == tuple(2 * size for size in PAPER)


def test_a_file_of_a_base_brings_no_boxes(tmp_path: Path) -> None:
    assert smallest(chosen(LITE, source=tmp_path / "base.npz")[0].boxes) == PAPER


def test_a_file_of_boxes_decides(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    designed = LITE.with_maps(("last",), (MapBoxes((90,), (180,)),))
    path.write_text(json.dumps({"designed": {"spec": asdict(designed)}}))
    save_network(tmp_path / "model", SSD(LITE, seed=0), card="")
    for source in (None, tmp_path / "model"):
        spec, lines = chosen(LITE, choice=str(path), source=source)
        assert spec == designed
        assert lines[-1] == f"default boxes of {path}"
        assert lines[1].startswith("plate: 0% of 20")


def test_another_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="'always'"):
        chosen(LITE, choice="always")
    with pytest.raises(RequestError, match=r"none\.json"):
        chosen(LITE, choice=str(tmp_path / "none.json"))


def test_a_run_that_is_resumed_keeps_its_boxes() -> None:
    data = ground_truth_set([(10 + 9 * i, 10, 19 + 9 * i, 19) for i in range(30)], [0] * 30)
    begun = LITE.with_maps(("last",), (MapBoxes((90,), (180,)),))
    options: dict[str, Any] = {"scales": "paper", "source": None, "resumed": asdict(replace(begun, batch_norm=True))}
    for choice in ("auto", "adapt"):
        boxes = choose_boxes(LITE, data, choice=choice, **options)
        assert boxes.spec == begun
        assert "resumed" in boxes.lines[-1]
    assert choose_boxes(LITE, data, choice="keep", **options).spec == LITE
    for other in (asdict(replace(begun, width=0.5)), {"name": 3}):
        boxes = choose_boxes(LITE, data, choice="auto", **options | {"resumed": other})
        assert "fitted" in " ".join(boxes.lines)


def test_boxes_are_kept_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleshot.box_search.study.BoxSearch", None)
    data = ground_truth_set(squares(30, 10, seed=1), [0] * 30)
    boxes = choose_boxes(LITE, data, choice="keep", scales="paper", source=None)
    assert boxes.spec == LITE
    assert boxes.recall.lowest == 0
    assert "--boxes adapt" in boxes.lines[-1]


DESIGNED = LITE.with_maps(("block7_expand", "last"), (MapBoxes((20,), (), (0.5,), flip=False), MapBoxes((90,), (180,))))


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_design_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"given": {"spec": asdict(LITE)}, "designed": {"spec": asdict(DESIGNED)}, "curve": []}
    path = written(tmp_path / "boxes.json", content)
    assert boxes_from_file(str(path), LITE) == DESIGNED
    others = replace(LITE, class_names=("a", "b", "c"))
    assert boxes_from_file(str(path), others) == replace(DESIGNED, class_names=others.class_names)
    del content["designed"]
    assert boxes_from_file(str(written(path, content)), LITE) == LITE


@pytest.mark.parametrize(
    "other",
    [
        SSD300_VGG16,
        LITE.with_input_size(300, 300),
        replace(LITE, width=0.5),
    ],
)
def test_boxes_of_another_detector_are_refused(tmp_path: Path, other: object) -> None:
    path = written(tmp_path / "boxes.json", {"designed": {"spec": asdict(DESIGNED)}})
    with pytest.raises(RequestError, match="ssdlite320-mobilenetv2 of 320x320"):
        boxes_from_file(str(path), other)  # type: ignore[arg-type]


def test_a_file_written_before_loads() -> None:
    """By the version that called recall coverage and scores worth; its boxes are the best 3,218 for bccd."""
    path = Path(__file__).parent / "fixtures" / "before" / "boxes.json"
    spec = boxes_from_file(str(path), LITE)
    assert len(SSD(spec, seed=0).default_boxes) == 3218
    assert spec.sources == ("block7_expand", "block14_expand", "last", "extra1_2", "extra2_2")
    assert spec.boxes.maps[1] == MapBoxes((41, 58), (), ())
    assert spec.class_names == LITE.class_names


def _without_sizes(spec: dict[str, Any]) -> None:
    spec["boxes"]["maps"][0]["min_sizes"] = []


def _unknown_field(spec: dict[str, Any]) -> None:
    spec["more"] = 1


def _too_many(spec: dict[str, Any]) -> None:
    spec["boxes"]["maps"][0]["min_sizes"] = list(range(1, 1000))


@pytest.mark.parametrize(
    ("change", "said"), [(_without_sizes, "above 0"), (_unknown_field, "more"), (_too_many, "0 .. 100")]
)
def test_boxes_that_cannot_be_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    spec = json.loads(json.dumps(asdict(DESIGNED)))
    change(spec)
    with pytest.raises(RequestError, match=said):
        boxes_from_file(str(written(tmp_path / "boxes.json", {"designed": {"spec": spec}})), LITE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("[1]", "no default boxes"),
        ('{"designed": 3}', "no default boxes"),
        ('{"designed": {"boxes": 3}}', "no default boxes"),
        ('{"designed": {"spec": 3}}', "not valid"),
        ('{"designed": {"spec": {"width": NaN}}}', "NaN"),
        ("[" * 100_000, "nested"),
    ],
)
def test_other_files_are_refused_in_a_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        boxes_from_file(str(written(tmp_path / "boxes.json", content)), LITE)
    assert "\n" not in str(caught.value)


def test_a_file_of_boxes_must_exist(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.json"):
        boxes_from_file(str(tmp_path / "none.json"), LITE)
    with pytest.raises(RequestError, match="ordinary"):
        boxes_from_file(str(tmp_path), LITE)


def test_a_model_whose_cells_learn_any_size_keeps_its_boxes() -> None:
    lite = replace(SSD320_LITE, class_names=LITE.class_names)
    spec, lines = chosen(lite)
    assert spec == lite
    assert not lines
    with pytest.raises(RequestError, match="any size"):
        chosen(lite, choice="adapt")
