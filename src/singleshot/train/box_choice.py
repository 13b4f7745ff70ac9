"""The default boxes of a run: fitted to the data, on the paper's scales, or as they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from singleshot.box_search.adapt import ENOUGH, NEGLECTED, adapt
from singleshot.box_search.measure import Coverage
from singleshot.errors import UnknownNameError
from singleshot.models.ssd import grid_sizes
from singleshot.spec import BoxSpec, ModelSpec
from singleshot.train.box_file import with_boxes_of
from singleshot.types import Annotations
from singleshot.weights.folder import read_spec

BOX_CHOICES = ("auto", "adapt", "keep")
NEGLECTED_RESCALED = 0.4
"""`NEGLECTED` where the boxes are no longer the architecture's own, but on the paper's scales, say.

These reach more small objects: VOC2007's persons, covered to 45%, gain by them; BCCD's platelets (34%) and what the
demonstration draws (35%) gain by more boxes.
"""


def with_fitting_boxes(
    spec: ModelSpec, train_set: Annotations, *, choice: str, scales: str, source: Path | None
) -> tuple[ModelSpec, Coverage, list[str]]:
    """The spec with default boxes that suit the data, how well they do, and lines that say what was chosen and why.

    Boxes that come with trained heads stay with them unless they miss the data.

    Args:
        spec: with the data's classes.
        train_set: to measure coverage on.
        choice: `auto` fits boxes to the data where they miss most of a class, `adapt` where they do not cover all of
            it, `keep` leaves them; else the file of a design, see `box_file`.
        scales: `paper` sets them to `on_paper_scales` where they need no fitting; `kept` does not.
        source: what the weights come from.

    Raises:
        UnknownNameError: no such choice and no such file; RequestError: a file that is none of boxes for this detector.
    """
    if choice not in BOX_CHOICES:
        return _of_file(spec, train_set, choice)
    shipped, remark = spec.boxes, ""
    if source is not None and source.is_dir() and read_spec(source).sources == spec.sources:
        spec = replace(spec, boxes=read_spec(source).with_input_size(*spec.input_size_hw).boxes)
    elif scales == "paper" and choice != "keep":
        spec = replace(spec, boxes=on_paper_scales(spec))
        remark = "default boxes set to the paper's scales, from a tenth of the input up (--boxes keep leaves them)"
    neglected = NEGLECTED if spec.boxes == shipped else NEGLECTED_RESCALED
    below = neglected if choice == "auto" else ENOUGH
    adaptation = adapt(spec, train_set, map_sizes_hw=grid_sizes, below=below, shipped=shipped)
    lines = adaptation.before.lines()
    if not adaptation.changed:
        return spec, adaptation.before, [*lines, remark or adaptation.reason]
    if choice == "keep":
        remark = "default boxes kept as asked; --boxes adapt would fit them to the data"
        return spec, adaptation.before, [*lines, remark]
    return adaptation.spec, adaptation.after, [*lines, adaptation.reason, *adaptation.after.lines()]


def _of_file(spec: ModelSpec, train_set: Annotations, choice: str) -> tuple[ModelSpec, Coverage, list[str]]:
    path = Path(choice)
    if not path.exists() and path.suffix != ".json":
        raise UnknownNameError("choice of --boxes, or file of default boxes", choice, BOX_CHOICES)
    spec = with_boxes_of(path, spec)
    coverage = adapt(spec, train_set, map_sizes_hw=grid_sizes, below=0).before
    return spec, coverage, [*coverage.lines(), f"default boxes of {path}"]


def on_paper_scales(spec: ModelSpec) -> BoxSpec:
    """As many default boxes, of the sizes that the paper gives SSD300: 0.1, and from 0.2 evenly to 0.9 or just below.

    Section 2.2, equation 4, in the whole percents of the authors' ssd_pascal.py; no size is larger than the input. Maps
    that carry other than one size and one larger square keep what they have.
    """
    maps, side = spec.boxes.maps, min(spec.input_size_hw)
    if len(maps) < 3 or any((len(boxes.min_sizes), len(boxes.max_sizes)) != (1, 1) for boxes in maps):
        return spec.boxes
    step = (90 - 20) // (len(maps) - 2)
    percents = [10, *(20 + step * place for place in range(len(maps)))]
    sizes = [float(min(side, round(side * percent / 100))) for percent in percents]
    rungs = zip(maps, pairwise(sizes), strict=True)
    return replace(
        spec.boxes, maps=tuple(replace(one, min_sizes=(low,), max_sizes=(high,)) for one, (low, high) in rungs)
    )
