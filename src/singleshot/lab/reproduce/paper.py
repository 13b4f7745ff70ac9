"""A table of the paper as data: its rows, how each is trained, and the figures that the paper prints (`paper.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from singleshot.spec import ModelSpec
from singleshot.train.recipe import OLD_NAMES, Recipe
from singleshot.train.settings import overridden

FIRST, ALL, ALL_AND_TESTS = "first", "all", "all and earlier tests"
"""Of the given sets a row learns the first (07), all (07+12), or all with the tests of all but the last (07++12)."""


@dataclass(frozen=True)
class Schedule:
    """What a network learns from, and how long.

    Attributes:
        recipe: optimizer, loss, augmentation.
        steps: of `recipe.batch_size` images.
        sets: `FIRST`, `ALL` or `ALL_AND_TESTS`.
        settings: the user's own settings, `NAME=VALUE` each, which nothing else changes.
    """

    recipe: Recipe
    steps: int
    sets: str = ALL
    settings: tuple[str, ...] = ()

    def configured_recipe(self, recipe: Recipe | None = None) -> Recipe:
        """The recipe, or another one, with the user's settings.

        Raises:
            RequestError, UnknownNameError: no such setting, or a value that it cannot have.
        """
        recipe = self.recipe if recipe is None else recipe
        return overridden(recipe, self.settings) if self.settings else recipe

    def to_json(self) -> dict[str, Any]:
        """Plain values; `updates` is the earlier name of `steps`."""
        recipe = asdict(self.configured_recipe())
        return {"recipe": recipe, "steps": self.steps, "updates": self.steps, "sets": self.sets}


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        key: names it on the command line and its folder of runs; rows with one key are the same in every table.
        label: for people.
        spec: the network.
        schedule: how it is trained.
        before: what it learns first, on COCO; then its heads are cut to VOC's classes. None: nothing.
        on_coco: it learns and is evaluated on COCO, not on the other sets.
        protocol: by which it is evaluated.
        paper: the paper's figures by their names, percent.
        per_class: the paper's AP of each class, percent; empty where it prints none.
        boxes: default boxes, as the paper counts them; None where it does not.
        needs_vgg: under the light budget, too, its backbone is a VGG-16.
        lengthened: multiplies the steps of the light budget.
        model_of: key of the row whose models it evaluates in another way; empty: it has models of its own.
        detects_boundary: whether default boxes that cross the image's border detect.
    """

    key: str
    label: str
    spec: ModelSpec
    schedule: Schedule
    before: Schedule | None = None
    on_coco: bool = False
    protocol: str = "voc07"
    paper: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, float] = field(default_factory=dict)
    boxes: int | None = None
    needs_vgg: bool = False
    lengthened: int = 1
    model_of: str = ""
    detects_boundary: bool = True

    def configuration(self) -> dict[str, Any]:
        """All that makes this row what it is, as plain values."""
        return with_old_keys(
            {
                "model": asdict(self.spec),
                **self.schedule.to_json(),
                "protocol": self.protocol,
                "before": None if self.before is None else self.before.to_json(),
            }
        )


def with_old_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration (`model`, `recipe`, `before`) whose renamed keys stand there under their earlier names, too."""
    both = dict(values)
    if "recipe" in both:
        both["recipe"] = both["recipe"] | {old: both["recipe"][new] for old, new in OLD_NAMES.items()}
    if "model" in both:
        model = both["model"]
        compatibility = dict(model["compatibility"])
        boxes = model["boxes"] | {"limit": compatibility.pop("box_limits")}
        both["model"] = model | compatibility | {"boxes": boxes}
    if both.get("before"):
        both["before"] = with_old_keys(both["before"])
    return both


class Pair(NamedTuple):
    """Two rows whose difference the paper speaks of.

    Attributes:
        statement: what it says or shows.
        first: key of the row that is less the other one.
        second: its key.
    """

    statement: str
    first: str
    second: str


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        name: on the command line.
        title: what it shows.
        rows: in the paper's order.
        timed: its rows are timed, too.
        note: what people should know of the comparison.
        controls: rows that the light budget has besides.
        pairs: rows to compare, where there are models of both.
    """

    name: str
    title: str
    rows: tuple[TableRow, ...]
    timed: bool = False
    note: str = ""
    controls: tuple[TableRow, ...] = ()
    pairs: tuple[Pair, ...] = ()


PER_CLASS = "AP"


def printed(table: str) -> list[dict[str, Any]]:
    """The rows of a table that is a list of rows, by its name in `paper.json`; figures in percent."""
    return cast("list[dict[str, Any]]", _tables()[table]["rows"])


def expansion(model: str) -> dict[str, float]:
    """Table 6: the figures of `SSD300`, `SSD512*` and so on, by column."""
    table = _tables()["table6_expansion"]
    return dict(zip(table["columns"], table["rows"][model], strict=True))


def method(table: str, name: str, data: str) -> dict[str, Any]:
    """The row of a method that learnt certain data in table 1 or 4."""
    return next(row for row in printed(table) if (row["method"], row["data"]) == (name, data))


def _tables() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8")))
