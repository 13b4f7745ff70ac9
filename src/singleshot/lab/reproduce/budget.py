"""How much a table may cost: the paper's own training, or one that two cores finish."""

from __future__ import annotations

from dataclasses import dataclass, replace

from singleshot.errors import RequestError, UnknownNameError
from singleshot.lab.reproduce.paper import Schedule
from singleshot.spec import ModelSpec
from singleshot.train.recipe import Recipe


@dataclass(frozen=True)
class Budget:
    """What a row's network and training are cut to. The paper's own is `full`, which changes nothing.

    Attributes:
        name: `full` or `small`.
        width: multiplies the channels of the trunk.
        epochs: passes over the training images; None: the row's own number of steps.
        quick: from nothing in few steps: batch normalisation, AdamW and a cosine in place of the paper's optimizer, and
            images scaled while they are decoded. Matching, loss, boxes and what is drawn for augmentation stay.
    """

    name: str
    width: float = 1.0
    epochs: float | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.width <= 1:
            raise RequestError(f"--width is above 0 and at most 1, got {self.width:g}")
        if self.epochs is not None and not 0 < self.epochs <= 1e6:
            raise RequestError(f"--epochs is above 0 and at most a million, got {self.epochs:g}")

    def network(self, spec: ModelSpec) -> ModelSpec:
        """The row's network at this cost."""
        fusion = spec.fusion  # whose channels do not follow the width
        if fusion is not None:
            fusion = replace(fusion, channels=max(1, round(fusion.channels * self.width)))
        width = spec.width * self.width
        return replace(spec, width=width, batch_norm=spec.batch_norm or self.quick, fusion=fusion)

    def recipe(self, schedule: Schedule) -> Recipe:
        """The row's recipe at this cost, with the user's settings."""
        return schedule.configured_recipe(self.recipe_before_settings(schedule))

    def recipe_before_settings(self, schedule: Schedule) -> Recipe:
        """The row's recipe at this cost."""
        recipe = schedule.recipe
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


BUDGETS = {"full": Budget("full"), "small": Budget("small", width=1 / 8, epochs=12, quick=True)}


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
