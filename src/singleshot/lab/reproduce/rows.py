"""A table of the paper as data: what each of its rows is, how it is trained, and what the paper found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from singleshot.spec import ModelSpec
from singleshot.train.recipe import Recipe

FIRST, ALL, ALL_AND_TESTS = "first", "all", "all and earlier tests"
"""Of the given sets a row learns the first (07), all (07+12), or all with the tests of all but the last (07++12)."""


@dataclass(frozen=True)
class Schooling:
    """What a network learns from, and how long.

    Attributes:
        recipe: solver, loss, augmentation.
        updates: of `recipe.batch_size` images.
        sets: `FIRST`, `ALL` or `ALL_AND_TESTS`.
    """

    recipe: Recipe
    updates: int
    sets: str = ALL


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        key: names it on the command line and its folder of runs; rows with one key are the same in every table.
        label: for people.
        spec: the network.
        schooling: how it is trained.
        before: what it learns first, on COCO; then its heads are cut to VOC's classes. None: nothing.
        on_coco: it learns and is judged on COCO, not on the other sets.
        protocol: by which it is judged.
        paper: the paper's figures by their names, percent.
        per_class: the paper's AP of each class, percent; empty where it prints none.
        boxes: default boxes, as the paper counts them; None where it does not.
    """

    key: str
    label: str
    spec: ModelSpec
    schooling: Schooling
    before: Schooling | None = None
    on_coco: bool = False
    protocol: str = "voc07"
    paper: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, float] = field(default_factory=dict)
    boxes: int | None = None

    def configuration(self) -> dict[str, Any]:
        """All that makes this row what it is, as plain values."""
        return {
            "model": asdict(self.spec),
            "recipe": asdict(self.schooling.recipe),
            "updates": self.schooling.updates,
            "sets": self.schooling.sets,
            "protocol": self.protocol,
            "before": None if self.before is None else asdict(self.before),
        }


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        name: on the command line.
        title: what it shows.
        rows: in the paper's order.
        timed: its rows are timed, too.
        note: what people should know of the comparison.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    timed: bool = False
    note: str = ""
