"""How much a table may cost: the paper's own training, or one that two cores finish."""

from __future__ import annotations

from dataclasses import dataclass, replace

from singleshot.errors import RequestError, UnknownNameError
from singleshot.lab.reproduce.light import light_network, light_recipe, light_steps
from singleshot.lab.reproduce.paper import Pair, Schedule, Table, TableRow
from singleshot.spec import ModelSpec
from singleshot.train.recipe import Recipe


@dataclass(frozen=True)
class Budget:
    """What a row's network and training are cut to. The paper's own is `full`, which changes nothing.

    Attributes:
        name: `full`, `light` or `small`.
        width: multiplies the channels of the trunk.
        epochs: passes over the training images; None: a number of steps.
        quick: from nothing in few steps: batch normalisation, AdamW and a cosine in place of the paper's optimizer, and
            images scaled while they are decoded. Matching, loss, boxes and what is drawn for augmentation stay.
        light: from a classifier's weights on a light backbone, see `light`.
    """

    name: str
    width: float = 1.0
    epochs: float | None = None
    quick: bool = False
    light: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.width <= 1:
            raise RequestError(f"--width is above 0 and at most 1, got {self.width:g}")
        if self.epochs is not None and not 0 < self.epochs <= 1e6:
            raise RequestError(f"--epochs is above 0 and at most a million, got {self.epochs:g}")

    def network(self, row: TableRow) -> ModelSpec:
        """The row's network at this cost."""
        spec = light_network(row) if self.light else row.spec
        fusion = spec.fusion  # whose channels do not follow the width
        if fusion is not None:
            fusion = replace(fusion, channels=max(1, round(fusion.channels * self.width)))
        width = spec.width * self.width
        return replace(spec, width=width, batch_norm=spec.batch_norm or self.quick, fusion=fusion)

    def recipe(self, row: TableRow, schedule: Schedule) -> Recipe:
        """The recipe of a schedule of the row at this cost, with the user's settings."""
        return schedule.configured_recipe(self.recipe_before_settings(row, schedule))

    def recipe_before_settings(self, row: TableRow, schedule: Schedule) -> Recipe:
        """The recipe of a schedule of the row at this cost."""
        recipe = schedule.recipe
        if self.light:
            return light_recipe(row, schedule)
        if not self.quick:
            return recipe
        return replace(
            recipe,
            optimizer="adamw",
            learning_rate=3e-3,
            bias_lr_factor=1.0,
            weight_decay=0.05,
            schedule="cosine",
            warmup_steps=50,
            grad_clip_norm=10.0,
            batch_size=8,
            ema_decay=0.99,
            augment=replace(recipe.augment, pixels="fast"),
        )

    def steps(self, row: TableRow, schedule: Schedule) -> int | None:
        """Steps of a schedule of the row; None where the budget counts epochs."""
        if self.epochs is not None:
            return None
        return light_steps(row) if self.light else schedule.steps

    def rows(self, table: Table) -> tuple[TableRow, ...]:
        """The table's rows under this budget.

        Raises:
            RequestError: the light budget is for tables 2 and 3.
        """
        if not self.light:
            return table.rows
        if not table.controls:
            raise RequestError(f"--budget light is for table2 and table3, not for {table.name}: take full or small")
        return (*table.rows, *table.controls)

    def compares(self, table: Table, pair: Pair) -> bool:
        """Whether a pair differs by what it is about alone: under the light budget, not by the backbone, too."""
        about_vgg = {row.needs_vgg for row in (*table.rows, *table.controls) if row.key in {pair.first, pair.second}}
        return not self.light or len(about_vgg) == 1


BUDGETS = {
    "full": Budget("full"),
    "light": Budget("light", light=True),
    "small": Budget("small", width=1 / 8, epochs=12, quick=True),
}


def budget(name: str, *, width: float | None = None, epochs: float | None = None) -> Budget:
    """The named budget, with another width or length.

    Raises:
        UnknownNameError: with the nearest names. RequestError: a width or length that cannot be.
    """
    if name not in BUDGETS:
        raise UnknownNameError("budget", name, BUDGETS)
    named = BUDGETS[name]
    return replace(
        named,
        width=named.width if width is None else width,
        epochs=named.epochs if epochs is None else epochs,
    )
