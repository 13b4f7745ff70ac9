"""What a run was begun with, held against what is asked of it now."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from typing import Any

from singleshot.spec import ModelSpec
from singleshot.train.recipe import Recipe, migrate_recipe

OLD_KEYS = {"pictures": "images"}
LONGEST = 40
"""Characters of a value in a message."""


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of any version under today's names; fields of `model` and `recipe` that came later have defaults."""
    usual = {field.name: field.default for field in fields(ModelSpec) if field.default is not MISSING}
    later = {"model": usual, "recipe": asdict(Recipe())}
    if isinstance(settings.get("recipe"), dict):
        settings = settings | {"recipe": migrate_recipe(settings["recipe"])}
    return {
        OLD_KEYS.get(name, name): later[name] | value if name in later and isinstance(value, dict) else value
        for name, value in settings.items()
    }


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What differs between two trees of plain values, one line each: `recipe.seed was 0, is 1`."""
    before, now = (json.loads(json.dumps(value)) for value in (before, now))  # tuples and lists are the same
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line
            for key in keys
            for line in differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if before == now else [f"{where} was {_shortened(before)}, is {_shortened(now)}"]


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
