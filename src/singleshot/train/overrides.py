"""Any setting of a recipe by its name, for experiments: `--set ema_decay=0.99 --set augment.max_expand_ratio=2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from singleshot.errors import RequestError, UnknownNameError
from singleshot.train.recipe import OLD_NAMES, OLD_VALUES, Recipe

SHORT_NAMES = {"alpha": "localisation_weight"}
Settings = TypeVar("Settings")


def overridden(settings: Settings, assignments: Sequence[str]) -> Settings:
    """The frozen settings with each `name=value` or `part.name=value` in place.

    Raises:
        RequestError: no assignment, or a value of another kind than the setting's.
        UnknownNameError: no such setting; the nearest are offered.
    """
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise RequestError(f"--set takes NAME=VALUE, got {assignment!r}")
        settings = _assigned(settings, name.strip(), value.strip(), whole=assignment)
    return settings


def _assigned(settings: Any, name: str, value: str, *, whole: str) -> Any:
    first, _, rest = name.partition(".")
    if isinstance(settings, Recipe):
        first = SHORT_NAMES.get(first, OLD_NAMES.get(first, first))
    known = [field.name for field in fields(settings) if field.name != "name"]
    if first not in known:
        prefix = whole.partition("=")[0].strip().removesuffix(name)
        raise UnknownNameError("setting", prefix + first, [prefix + one for one in known])
    old = getattr(settings, first)
    value = OLD_VALUES.get(first, {}).get(value, value)
    if is_dataclass(old) != bool(rest):
        raise RequestError(f"--set {whole}: {first} {'has parts: name one' if is_dataclass(old) else 'has no parts'}")
    return replace(settings, **{first: _assigned(old, rest, value, whole=whole) if rest else _read(old, value, whole)})


def _read(old: object, value: str, whole: str) -> object:
    """The value as what stands there now is."""
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(old, int | float | str):
            numerator, colon, denominator = value.partition(":")
            if isinstance(old, float) and colon:
                return float(numerator) / float(denominator)
            return type(old)(value)
        if isinstance(old, tuple) and all(isinstance(one, int | float | str) for one in old):
            return tuple(type(old[0])(one) for one in value.split(","))
    except (ValueError, KeyError, ZeroDivisionError):
        raise RequestError(f"--set {whole}: expected {_kind(old)}") from None
    raise RequestError(f"--set {whole}: this setting cannot be given as text")


def _kind(old: object) -> str:
    if isinstance(old, bool):
        return "true or false"
    if isinstance(old, tuple):
        return f"such as {','.join(map(str, old))}"
    return {int: "a whole number", float: "a number"}.get(type(old), "a name")
