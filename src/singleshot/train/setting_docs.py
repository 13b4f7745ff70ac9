"""What each setting of a recipe means, for `ssd train --settings` and docs/settings.md: from the dataclasses' docs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from singleshot.augment.settings import EMIT_RULES, PIXELS, AugmentSettings
from singleshot.train.recipe import ALIGNED, CHOICES, MODERN, MULTIBOX, Recipe, flat_values, recipe_for
from singleshot.train.settings import as_text, kind_of
from singleshot.variants import SSDLITE320_MOBILENETV2

NAMES_TAKEN = {**CHOICES, "augment.pixels": PIXELS, "augment.emit_rule": EMIT_RULES}
OTHER_RECIPES = {
    "caffe on light models": recipe_for("caffe", SSDLITE320_MOBILENETV2),
    "modern": MODERN,
    "modern on light models": recipe_for("modern", SSDLITE320_MOBILENETV2),
    "aligned": ALIGNED,
    "multibox": MULTIBOX,
}


@dataclass(frozen=True)
class SettingDoc:
    """A setting as `--set` takes it.

    Attributes:
        name: `batch_size`, `augment.hue_delta`.
        takes: a number, a name of several ...
        default: of recipe `caffe`.
        others: values of the other recipes: `0.05 in modern, multibox`.
        meaning: with unit and the paper's symbol.
    """

    name: str
    takes: str
    default: str
    others: str
    meaning: str


def setting_docs() -> list[SettingDoc]:
    """Every setting, in the order of the dataclasses."""
    augment = {f"augment.{name}": text for name, text in _attribute_docs(AugmentSettings)}
    meanings = dict(_attribute_docs(Recipe)) | augment
    return [
        SettingDoc(
            name=name,
            takes=_listed(NAMES_TAKEN[name]) if name in NAMES_TAKEN else kind_of(value),
            default=as_text(value),
            others=_others(name, value),
            meaning=meanings[name],
        )
        for name, value in flat_values(Recipe()).items()
    ]


def terminal_lines() -> Iterator[str]:
    """The list for `ssd train --settings`."""
    yield "Settings of a training, for: ssd train DATA --set NAME=VALUE (alpha is localisation_weight; 5:1 is a ratio)"
    for doc in setting_docs():
        yield ""
        others = f"; {doc.others}" if doc.others else ""
        yield f"{doc.name}={doc.default}  ({doc.takes}{others})"
        yield f"    {doc.meaning}".replace("`", "")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _others(name: str, default: object) -> str:
    """Where other recipes differ; on light models only what differs there."""
    recipes_by_value: dict[str, list[str]] = {}
    for recipe_name, recipe in OTHER_RECIPES.items():
        value = flat_values(recipe)[name]
        usual = flat_values(MODERN)[name] if recipe_name == "modern on light models" else default
        if value != usual:
            recipes_by_value.setdefault(as_text(value), []).append(recipe_name)
    return "; ".join(f"{value} in {', '.join(names)}" for value, names in recipes_by_value.items())


def _attribute_docs(documented: type) -> list[tuple[str, str]]:
    """Name and text of each entry of a docstring's `Attributes:`."""
    text = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, flags=re.MULTILINE)
    return [(name, " ".join(meaning.split())) for name, meaning in entries]
