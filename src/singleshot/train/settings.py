"""The settings of a run, resolved once: built-in default < recipe < what the data asks for < what the user gave.

Every value knows where it comes from. A value of the user's is obeyed or refused, never changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

from singleshot.augment.settings import BatchSampler
from singleshot.errors import RequestError, UnknownNameError
from singleshot.train.adapt_recipe import DataFacts, adapt_recipe_to_data
from singleshot.train.options import TrainOptions
from singleshot.train.recipe import OLD_NAMES, OLD_VALUES, Recipe, flat_values, with_values

DEFAULT_EPOCHS, MOST_EPOCHS, LEAST_STEPS = 30, 200, 1000
"""A run has 30 epochs; of a small set so many, at most 200, that there are a thousand steps."""
MOST = 10**9
"""Steps or epochs."""
WARMUP_SHARE = 5
"""A recipe's warm-up lasts for at most a fifth of the run."""
VALIDATIONS = 30
"""About so many has a run."""
FEWEST_STEPS_BETWEEN_CHECKPOINTS = 20
SHORT_NAMES = {"alpha": "localisation_weight"}
"""Names of the paper that `--set` knows, too."""
FLAGS = {
    "learning_rate": "--learning-rate",
    "schedule": "--schedule",
    "warmup": "--warmup",
    "batch_size": "--batch-size",
    "accumulate": "--accumulate",
    "backbone_lr_factor": "--backbone-lr-factor",
    "grad_clip_norm": "--grad-clip-norm",
}
"""Options that set a value of the recipe, which has the same name but for the warm-up."""

ELSEWHERE = {
    "epochs", "iterations", "validate_every", "checkpoint_every", "recipe", "overrides", "out", "resume", "find_rate",
}  # fmt: skip
"""Options that are no settings, or that other settings follow."""

Origin: TypeAlias = Literal["default", "recipe", "data", "user"]


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from.

    Attributes:
        value: what the run uses.
        origin: the built-in `default`, the `recipe`, the `data`, or the `user`.
        reason: the name of the recipe, what it is about the data, or the user's flag.
        instead_of: the value that the recipe or the default has.
    """

    value: Any
    origin: Origin
    reason: str
    instead_of: Any

    @property
    def changed(self) -> bool:
        """Whether data or user changed what recipe and defaults say."""
        return bool(self.value != self.instead_of)

    @property
    def source(self) -> str:
        """Where it comes from, for people: `yours (--set)`; empty for a default."""
        if self.origin == "user":
            return f"yours ({self.reason})"
        return f"from the data: {self.reason}" if self.origin == "data" else self.reason

    def __str__(self) -> str:
        """For people: `3 -> 5, yours (--set)`, `16 -> 8, from the data: crowded images`, `0.05, recipe modern`."""
        text = f"{as_text(self.instead_of)} -> {as_text(self.value)}" if self.changed else as_text(self.value)
        return f"{text}, {self.source}" if self.source else text


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        recipe: with all that data and user changed in it.
        steps: of the whole run.
        validate_every: steps between two validations.
        checkpoint_every: steps between two checkpoints.
        sources: each value by its name (`batch_size`, `augment.hue_delta`, `steps`), with its origin.
    """

    recipe: Recipe
    steps: int
    validate_every: int
    checkpoint_every: int
    sources: Mapping[str, Setting]

    def changes(self) -> list[str]:
        """What differs from recipe and defaults, a line each: `negative_ratio 3 -> 5, yours (--set)`."""
        return [f"{name} {setting}" for name, setting in self.sources.items() if setting.changed]

    def table(self) -> dict[str, str]:
        """Every setting with its origin, for people."""
        return {name: str(setting) for name, setting in self.sources.items()}

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Every setting as `{"value", "origin", "reason"}`, plain values."""
        return {
            name: {"value": _plain(setting.value), "origin": setting.origin, "reason": setting.reason}
            for name, setting in self.sources.items()
        }


def resolve(recipe: Recipe, options: TrainOptions, facts: DataFacts) -> Settings:
    """The settings of a run: the recipe, with what the data asks for and, above all, what the user gave.

    Raises:
        RequestError, UnknownNameError: a value that the user gave cannot be, or they contradict each other.
    """
    given = user_values(recipe, options)
    adapted, changes = adapt_recipe_to_data(with_user_values(recipe, options), facts, fixed=given)
    before = flat_values(recipe)
    of_data: dict[str, Setting] = {}
    for name, value, reason in changes:
        earlier = f"{of_data[name].reason}; " if name in of_data else ""
        of_data[name] = Setting(value, "data", earlier + reason, before[name])
    length = _length(options, adapted.batch_size, facts.images)
    steps = length["steps"].value
    most = steps // WARMUP_SHARE
    if "warmup_steps" not in given and adapted.warmup_steps > most:
        reason = f"a fifth of the {steps} steps of the run"
        of_data["warmup_steps"] = Setting(most, "data", reason, before["warmup_steps"])
        adapted = with_values(adapted, {"warmup_steps": most})
    often = _intervals(options, facts.images / adapted.batch_size, steps)
    sources = {
        name: given.get(name) or of_data.get(name) or _of_recipe(recipe, name, value) for name, value in before.items()
    }
    return Settings(
        recipe=adapted,
        steps=steps,
        validate_every=often["validate_every"].value,
        checkpoint_every=often["checkpoint_every"].value,
        sources=length | sources | often | _of_options(options),
    )


def overridden(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with each `NAME=VALUE` or `augment.NAME=VALUE` in place.

    Raises:
        RequestError: no assignment, a value of another kind than the setting's, or two values for one setting.
        UnknownNameError: no such setting; the nearest are offered.
    """
    return with_values(recipe, {name: value for name, value, _ in _merged(_assigned(recipe, assignments))})


def renamed_settings(options: TrainOptions) -> list[str]:
    """A line on each name of an earlier version that the user gave by `--set`."""
    names = [assignment.partition("=")[0].strip() for assignment in options.overrides]
    return [f"{name} is now called {OLD_NAMES[name]}" for name in names if name in OLD_NAMES]


def with_user_values(recipe: Recipe, options: TrainOptions) -> Recipe:
    """The recipe with what the user gave, before the data is asked. Raises as `overridden`."""
    return with_values(recipe, {name: setting.value for name, setting in user_values(recipe, options).items()})


class _Given(NamedTuple):
    """A value that the user gave, and how."""

    name: str
    value: Any
    said: str


def user_values(recipe: Recipe, options: TrainOptions) -> dict[str, Setting]:
    """What the user gave for settings of the recipe, by flag or `--set`. Raises as `overridden`."""
    flags = [
        _Given("warmup_steps" if name == "warmup" else name, getattr(options, name), flag)
        for name, flag in FLAGS.items()
        if getattr(options, name) is not None
    ]
    before = flat_values(recipe)
    return {
        name: Setting(value, "user", said, before[name])
        for name, value, said in _merged([*flags, *_assigned(recipe, options.overrides)])
    }


def _assigned(recipe: Recipe, assignments: Sequence[str]) -> list[_Given]:
    known = flat_values(recipe)
    values = []
    for assignment in assignments:
        written, sign, text = assignment.partition("=")
        if not sign:
            raise RequestError(f"--set takes NAME=VALUE, got {assignment!r}")
        name = written.strip()
        name = SHORT_NAMES.get(name, OLD_NAMES.get(name, name))
        if name not in known:
            raise UnknownNameError("setting", written.strip(), known, listed_by="ssd train --settings")
        values.append(_Given(name, _read(known[name], name, text.strip(), assignment), "--set"))
    return values


def _merged(values: Iterable[_Given]) -> list[_Given]:
    """The same values, each once.

    Raises:
        RequestError: two values for one setting.
    """
    by_name: dict[str, _Given] = {}
    for given in values:
        other = by_name.setdefault(given.name, given)
        if other is not given and other.value != given.value:  # NaN is not itself
            raise RequestError(
                f"{given.name} is given twice: {as_text(other.value)} by {other.said} and {as_text(given.value)} by "
                f"{given.said}; give one"
            )
    return list(by_name.values())


def _read(old: object, name: str, text: str, assignment: str) -> object:
    """The text as a value of the kind that the setting has."""
    text = OLD_VALUES.get(name, {}).get(text, text)
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, float):
            numerator, colon, denominator = text.partition(":")
            return float(numerator) / float(denominator) if colon else float(text)
        if isinstance(old, int | str):
            return type(old)(text)
        if old is None:  # the one setting that may be none is a whole number
            return None if text.lower() == "none" else int(text)
        if isinstance(old, tuple) and isinstance(old[0], int | float | str):
            return tuple(type(old[0])(part) for part in text.split(","))
    except (ValueError, KeyError, ZeroDivisionError):
        raise RequestError(f"--set {assignment}: expected {kind_of(old)}; see ssd train --settings") from None
    raise RequestError(f"--set {assignment}: this setting cannot be given as text")


def kind_of(value: object) -> str:
    """What a setting takes, in words."""
    if isinstance(value, bool):
        return "true or false"
    if _are_samplers(value):
        return "from Python only"
    if isinstance(value, tuple):
        return "several, such as " + ",".join(as_text(part) for part in value)
    return {int: "a whole number", float: "a number", type(None): "a whole number or none"}.get(type(value), "a name")


def _of_recipe(recipe: Recipe, name: str, value: object) -> Setting:
    if value == flat_values(Recipe())[name]:
        return Setting(value, "default", "", value)
    return Setting(value, "recipe", f"recipe {recipe.name}", value)


def _length(options: TrainOptions, batch_size: int, images: int) -> dict[str, Setting]:
    """Epochs and steps of the run: as the user says, else as the size of the set asks for."""
    if options.iterations is not None and options.epochs is not None:
        raise RequestError("give --epochs or --iterations, not both")
    usual = math.ceil(DEFAULT_EPOCHS * images / batch_size)
    if options.iterations is not None:
        steps = Setting(options.iterations, "user", "--iterations", usual)
        epochs = _unchanged(round(options.iterations * batch_size / images, 2), "user", "--iterations")
    else:
        epochs = _epochs(options, batch_size, images, usual)
        steps = _unchanged(math.ceil(epochs.value * images / batch_size), epochs.origin, epochs.reason)
    if not 1 <= steps.value <= MOST:
        raise RequestError(f"a run needs from one to {MOST:,} steps, got {steps.value:,}: see --epochs, --iterations")
    return {"epochs": epochs, "steps": steps}


def _epochs(options: TrainOptions, batch_size: int, images: int, usual_steps: int) -> Setting:
    if options.epochs is not None:
        if not 0 < options.epochs <= MOST:
            raise RequestError(f"--epochs is a number above 0, at most {MOST:,}, got {options.epochs:g}")
        return Setting(options.epochs, "user", "--epochs", DEFAULT_EPOCHS)
    epochs = min(max(DEFAULT_EPOCHS, math.ceil(LEAST_STEPS * batch_size / images)), MOST_EPOCHS)
    if epochs == DEFAULT_EPOCHS:
        return _unchanged(epochs)
    reason = f"{DEFAULT_EPOCHS} epochs of {images} images would be only {usual_steps} steps (--epochs decides)"
    return Setting(epochs, "data", reason, DEFAULT_EPOCHS)


def _intervals(options: TrainOptions, steps_an_epoch: float, steps: int) -> dict[str, Setting]:
    """How often the run validates and writes checkpoints, in steps."""

    def every(usual: float, wanted: float | None, flag: str) -> Setting:
        usual = max(1, round(usual))
        return _unchanged(usual) if wanted is None else Setting(max(1, round(wanted)), "user", flag, usual)

    epochs = options.validate_every
    return {
        "validate_every": every(
            max(steps_an_epoch, steps / VALIDATIONS),
            None if epochs is None else epochs * steps_an_epoch,
            "--validate-every",
        ),
        "checkpoint_every": every(
            max(FEWEST_STEPS_BETWEEN_CHECKPOINTS, steps_an_epoch), options.checkpoint_every, "--checkpoint-every"
        ),
    }


def _of_options(options: TrainOptions) -> dict[str, Setting]:
    """What the recipe does not have: split, seed, boxes, precision ... as the user gave them or by default."""
    settings = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name not in ELSEWHERE and field.name not in FLAGS:
            flag = f"--{field.name.replace('_', '-')}"
            given = value != field.default
            settings[field.name] = _unchanged(value, "user", flag) if given else _unchanged(value)
    return settings


def _unchanged(value: Any, origin: Origin = "default", reason: str = "") -> Setting:
    return Setting(value, origin, reason, value)


def as_text(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if _are_samplers(value):
        return f"min_scale {min(sampler.min_scale for sampler in value):.2g}"
    if isinstance(value, tuple):
        return ",".join(as_text(part) for part in value)
    return str(value)


def _are_samplers(value: object) -> TypeGuard[tuple[BatchSampler, ...]]:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], BatchSampler)


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [vars(part) if isinstance(part, BatchSampler) else part for part in value]
    return value
