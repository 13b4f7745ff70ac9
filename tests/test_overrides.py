from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from singleshot.errors import RequestError, UnknownNameError
from singleshot.train.overrides import overridden
from singleshot.train.recipe import Recipe, migrate_recipe, recipe_for
from singleshot.variants import variant

BEFORE = Path(__file__).parent / "fixtures/before"


def test_any_setting_may_be_given_by_its_name() -> None:
    texts = [
        "label_smoothing=0.1",
        "warmup_steps = 7",
        "optimizer=adamw",
        "augment.keep_difficult=false",
        "augment.interpolations=area,linear",
        "augment.contrast_range=0.9,1.1",
    ]
    recipe = overridden(Recipe(), texts)
    assert (recipe.label_smoothing, recipe.warmup_steps, recipe.optimizer) == (0.1, 7, "adamw")
    assert recipe.augment.keep_difficult is False
    assert recipe.augment.interpolations == ("area", "linear")
    assert recipe.augment.contrast_range == (0.9, 1.1)


def test_the_papers_symbol_and_its_way_to_write_a_ratio_are_known() -> None:
    recipe = overridden(Recipe(), ["alpha=0.5", "negative_ratio=5:2"])
    assert (recipe.localisation_weight, recipe.negative_ratio) == (0.5, 2.5)
    with pytest.raises(RequestError, match="5:0"):
        overridden(Recipe(), ["negative_ratio=5:0"])


def test_names_of_before_are_known() -> None:
    texts = ["solver=adamw", "average=0.9", "box_scales=kept", "drops=0.5,0.6"]
    recipe = overridden(Recipe(box_scales="paper"), texts)
    assert recipe == Recipe(optimizer="adamw", ema_decay=0.9, box_scales="model", lr_milestones=(0.5, 0.6))


@pytest.mark.parametrize("case", json.loads((BEFORE / "recipes.json").read_text()), ids=lambda case: case["name"])
def test_recipes_in_files_of_before_are_todays(case: dict[str, Any]) -> None:
    """`recipes.json`: what `recipe_for(name, variant(model))` was before its settings were renamed."""
    recipe = recipe_for(case["name"], variant(case["model"]))
    assert migrate_recipe(case["recipe"]) == json.loads(json.dumps(asdict(recipe)))
    assert migrate_recipe(asdict(recipe)) == asdict(recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ema_decay", "takes NAME=VALUE"),
        ("ema_decay=much", "expected a number"),
        ("warmup_steps=1.5", "expected a whole number"),
        ("augment.keep_difficult=maybe", "expected true or false"),
        ("augment.contrast_range=a,b", "expected such as 0.5,1.5"),
        ("augment=none", "has parts"),
        ("ema_decay.value=1", "has no parts"),
        ("augment.samplers=1", "cannot be given as text"),
        ("ema_decay=1", "ema_decay must be from 0 up to 1"),
    ],
)
def test_what_cannot_be_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        overridden(Recipe(), [text])


@pytest.mark.parametrize("text", ["ema_deca=0.9", "augment.expand=1", "optimizer=adam", "localisation_loss=iou"])
def test_unknown_names_get_an_offer(text: str) -> None:
    with pytest.raises(UnknownNameError):
        overridden(Recipe(), [text])


@pytest.mark.parametrize(
    "assignment",
    [
        "iou_threshold=5",
        "iou_threshold=nan",
        "negative_ratio=-3",
        "negative_ratio=nan",
        "localisation_weight=inf",
        "weight_decay=-5",
        "bias_lr_factor=nan",
        "name=other",
        "augment.max_expand_ratio=1e6",
        "augment.brightness_delta=nan",
        "augment.hue_delta=inf",
        "augment.emit_coverage=nan",
        "augment.contrast_range=1",
        "augment.contrast_range=2,1",
        "augment.contrast_range=nan,nan",
        "augment.saturation_range=1,2,3",
    ],
)
def test_numbers_with_which_nothing_could_be_learnt_are_refused(assignment: str) -> None:
    with pytest.raises(RequestError):
        overridden(Recipe(), [assignment])
