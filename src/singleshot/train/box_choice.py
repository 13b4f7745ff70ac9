"""The default boxes of a run: fitted to the data, on the paper's scales, as they are, or from a file of `ssd boxes`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from singleshot.box_search.recall import DefaultBoxRecall, sample_of
from singleshot.box_search.search import MapSizes
from singleshot.box_search.study import FULL_RECALL, GOOD_RECALL, LOW_RECALL, Goal, find_boxes, measure_boxes
from singleshot.errors import ModelError, RequestError, SingleshotError, UnknownNameError
from singleshot.files import parse_json, read_regular, validated
from singleshot.models.ssd import grid_sizes
from singleshot.spec import BoxSpec, ModelSpec, migrate_spec
from singleshot.ssd.default_boxes import with_paper_scales
from singleshot.types import Annotations
from singleshot.weights.bounds import require_bounds
from singleshot.weights.folder import read_spec

BOX_CHOICES = ("auto", "adapt", "keep")
LOW_RECALL_RESCALED = 0.4
"""`LOW_RECALL` for other boxes than the architecture's own, such as those on the paper's scales.

They fit more small objects: VOC2007's persons, of a recall of 45%, are learnt better by them, and BCCD's platelets
(34%) and the demonstration's classes (35%) by boxes fitted to the data.
"""
LARGEST_FILE = 4 * 2**20  # bytes
BOX_SETS = ("designed", "given")
"""Keys of a file of `ssd boxes` under which boxes stand: the better ones, where there are any, and the present ones."""


@dataclass(frozen=True, eq=False)
class ChosenBoxes:
    """What was chosen.

    Attributes:
        spec: the detector to train.
        recall: of the training set by its default boxes.
        lines: for people: recall of each class, and what was chosen and why.
    """

    spec: ModelSpec
    recall: DefaultBoxRecall
    lines: tuple[str, ...]


def choose_boxes(
    spec: ModelSpec,
    train_set: Annotations,
    *,
    choice: str,
    scales: str,
    source: Path | None,
    map_sizes_hw: MapSizes = grid_sizes,
    resumed: Mapping[str, Any] | None = None,
) -> ChosenBoxes:
    """The default boxes of a run.

    Args:
        spec: the detector, with the data's classes.
        train_set: what the boxes should fit.
        choice: `auto` searches boxes that fit the data if those at hand hardly fit a class, `adapt` if they do not fit
            every class well, `keep` never; else a file that `ssd boxes --json` wrote.
        scales: of the recipe, see `starting_boxes`.
        source: what the weights come from.
        map_sizes_hw: height and width of each source map of a spec.
        resumed: spec of the run that is resumed, as plain values. Its boxes are not searched again, since another
            version may have found others.

    Raises:
        UnknownNameError: no such choice and no such file.
        RequestError: a file that holds no boxes for this detector.
    """
    if spec.is_quality_aware:
        return _of_cells(spec, train_set, map_sizes_hw, choice)
    if choice not in BOX_CHOICES:
        return _unsearched(boxes_from_file(choice, spec), train_set, map_sizes_hw, f"default boxes of {choice}")
    start = replace(spec, boxes=starting_boxes(spec, source, scales="model" if choice == "keep" else scales))
    if choice == "keep":
        remark = "default boxes kept as asked (--boxes adapt fits them to the data)"
        return _unsearched(start, train_set, map_sizes_hw, remark)
    begun = _resumed(resumed, spec) if resumed else None
    if begun is not None:
        return _unsearched(begun, train_set, map_sizes_hw, "default boxes of the run that is resumed")
    low = LOW_RECALL if start.boxes == spec.boxes else LOW_RECALL_RESCALED
    goal = Goal(kept_from=low if choice == "auto" else GOOD_RECALL, least_recall=FULL_RECALL)
    study = find_boxes(start, train_set, goal, map_sizes_hw=map_sizes_hw)
    if study.best is None and start.boxes != spec.boxes and _trained_boxes(spec, source) is None:
        remark = "default boxes set to the paper's scales, from a tenth of the input up (--boxes keep leaves them)"
        study = replace(study, remarks=(remark,))
    return ChosenBoxes(study.chosen.spec, study.chosen.recall, tuple(study.lines()))


def _of_cells(spec: ModelSpec, train_set: Annotations, map_sizes_hw: MapSizes, choice: str) -> ChosenBoxes:
    """The boxes of a detector whose cells learn objects of any size; they are not fitted.

    Raises:
        RequestError: other boxes were asked for.
    """
    if choice not in {"auto", "keep"}:
        raise RequestError(f"default boxes of {spec.name} cannot be chosen: its cells learn objects of any size")
    sample, _ = sample_of(train_set)
    return ChosenBoxes(spec, measure_boxes(spec, sample, map_sizes_hw).recall, ())


def starting_boxes(spec: ModelSpec, source: Path | None, *, scales: str) -> BoxSpec:
    """The boxes of the weights that a run starts from, or, where these have none, the spec's on the recipe's scales.

    Args:
        spec: the detector.
        source: what the weights come from; None for fresh ones.
        scales: `paper` for `with_paper_scales`, `model` for the spec's own.
    """
    trained = _trained_boxes(spec, source)
    if trained is not None:
        return trained
    return with_paper_scales(spec.boxes, spec.input_size_hw) if scales == "paper" else spec.boxes


def _trained_boxes(spec: ModelSpec, source: Path | None) -> BoxSpec | None:
    """The boxes of a model folder with the same source maps, for the spec's input size."""
    if source is None or not source.is_dir():
        return None
    trained = read_spec(source)
    return trained.with_input_size(*spec.input_size_hw).boxes if trained.sources == spec.sources else None


def _unsearched(spec: ModelSpec, train_set: Annotations, map_sizes_hw: MapSizes, remark: str) -> ChosenBoxes:
    """The boxes as they are, measured."""
    sample, sampled = sample_of(train_set)
    recall = measure_boxes(spec, sample, map_sizes_hw).recall
    return ChosenBoxes(spec, recall, (*recall.lines(), remark + sampled))


def boxes_from_file(choice: str, spec: ModelSpec) -> ModelSpec:
    """The spec with the source maps and default boxes of a file of `ssd boxes --json`.

    Args:
        choice: the file. Its better boxes are taken, or the present ones where it has no better ones.
        spec: the detector to train; except for maps, boxes and class names, the file's must be the same.

    Raises:
        UnknownNameError: neither a choice nor a file.
        RequestError: a file that holds no boxes, or those of another detector; both are named.
    """
    path = Path(choice)
    if not path.exists() and path.suffix != ".json":
        raise UnknownNameError("choice of --boxes, or file of default boxes", choice, BOX_CHOICES)
    stored = _read_spec(path)
    boxed = _with_boxes(spec, stored)
    if boxed is None:
        raise RequestError(
            f"{path} has default boxes for {_described(stored)}, and {_described(spec)} is to be trained: give ssd "
            "boxes the same --model and --input-size"
        )
    return boxed


def _resumed(values: Mapping[str, Any], spec: ModelSpec) -> ModelSpec | None:
    """The spec with the boxes of the run that is resumed; None if that run is one of another detector."""
    from pydantic import TypeAdapter, ValidationError

    try:
        begun = TypeAdapter(ModelSpec).validate_json(json.dumps(migrate_spec(dict(values))))
    except (ValidationError, SingleshotError):
        return None
    return _with_boxes(spec, replace(begun, batch_norm=spec.batch_norm))  # fresh weights add batch normalisation later


def _with_boxes(spec: ModelSpec, stored: ModelSpec) -> ModelSpec | None:
    """The spec with the source maps and default boxes of a stored one; None if they differ in anything else."""
    boxed = replace(
        spec,
        sources=stored.sources,
        boxes=stored.boxes,
        extras=spec.extras[: len(stored.extras)],
        normalised=stored.normalised,
        compatibility=replace(spec.compatibility, full_heads=stored.compatibility.full_heads),
    )
    return boxed if boxed == replace(stored, class_names=spec.class_names) else None


def _read_spec(path: Path) -> ModelSpec:
    from pydantic import TypeAdapter

    try:
        content = parse_json(read_regular(path, LARGEST_FILE))
        box_sets = [content[key] for key in BOX_SETS if key in content] if isinstance(content, dict) else []
        spec = box_sets[0].get("spec") if box_sets and isinstance(box_sets[0], dict) else None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequestError(f"--boxes {path} cannot be read: {reason}") from error
    if spec is None:
        raise RequestError(f"{path} holds no default boxes: ssd boxes DATA --json {path.name} writes such a file")
    stored = validated(TypeAdapter(ModelSpec), json.dumps(migrate_spec(spec)), str(path), RequestError)
    try:
        require_bounds(stored, str(path))
    except ModelError as error:
        raise RequestError(str(error)) from error
    return stored


def _described(spec: ModelSpec) -> str:
    height, width = spec.input_size_hw
    return f"{spec.name} of {width}x{height}"
