from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from singleshot.errors import RequestError, UnknownNameError
from singleshot.train.adapt_recipe import DataFacts
from singleshot.train.options import TrainOptions
from singleshot.train.recipe import MODERN, Recipe, flat_values, migrate_recipe, recipe_for
from singleshot.train.settings import Setting, overridden, renamed_settings, resolve
from singleshot.variants import variant

FACTS = DataFacts(images=100, objects=1000, box_recall=1.0, size_spread=1.3)
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
    notes = renamed_settings(TrainOptions(overrides=("average=0.9", "momentum=0.8")))
    assert notes == ["average is now called ema_decay"]


def test_light_backbones_are_trained_by_modern_also_under_heads_that_are_not_separable() -> None:
    recipe = recipe_for(None, variant("ssd300-mobilenetv1"))
    assert (recipe.name, recipe.learning_rate, recipe.backbone_lr_factor) == ("modern", 3e-3, 0.05)
    assert recipe_for("caffe", variant("ssd300-mobilenetv1")) == recipe_for("caffe", variant("ssd300-vgg16"))
    assert recipe_for(None, variant("ssd300-vgg16")).name == "caffe"


@pytest.mark.parametrize("case", json.loads((BEFORE / "recipes.json").read_text()), ids=lambda case: case["name"])
def test_recipes_in_files_of_before_are_todays(case: dict[str, Any]) -> None:
    """`recipes.json`: what `recipe_for(name, variant(model))` was before its settings were renamed."""
    recipe = recipe_for(case["name"], variant(case["model"]))
    assert migrate_recipe(case["recipe"]) == json.loads(json.dumps(asdict(recipe)))
    assert migrate_recipe(asdict(recipe)) == asdict(recipe)


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("ema_decay", "NAME=VALUE"),
        ("ema_decay=much", "number"),
        ("warmup_steps=1.5", "whole number"),
        ("augment.keep_difficult=maybe", "true or false"),
        ("augment.contrast_range=a,b", "0.5,1.5"),
        ("augment.jpeg_quality=good", "none"),
        ("augment=none", "augment"),
        ("ema_decay.value=1", "ema_decay.value"),
        ("augment.samplers=1", "augment.samplers"),
        ("ema_decay=1", "ema_decay"),
    ],
)
def test_what_cannot_be_is_one_clear_line(text: str, token: str) -> None:
    with pytest.raises(RequestError, match=token) as error:
        overridden(Recipe(), [text])
    assert "\n" not in str(error.value)


def test_the_one_setting_that_may_be_none() -> None:
    assert overridden(Recipe(), ["augment.jpeg_quality=95"]).augment.jpeg_quality == 95
    assert overridden(Recipe(), ["augment.jpeg_quality=none"]) == Recipe()


def test_values_that_go_together_are_put_in_place_at_once() -> None:
    assert overridden(Recipe(), ["accumulate=3", "batch_size=30"]).accumulate == 3


def test_two_values_for_one_setting_are_refused() -> None:
    assert overridden(Recipe(), ["alpha=2", "localisation_weight=2"]).localisation_weight == 2
    with pytest.raises(RequestError, match="localisation_weight"):
        overridden(Recipe(), ["alpha=2", "localisation_weight=3"])
    with pytest.raises(RequestError, match="--batch-size"):
        resolve(MODERN, TrainOptions(batch_size=8, overrides=("batch_size=16",)), FACTS)


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


def test_a_number_that_is_none_is_not_told_to_be_given_twice() -> None:
    with pytest.raises(RequestError, match="learning_rate must be above 0, got nan"):
        overridden(Recipe(), ["learning_rate=nan"])


def test_each_value_knows_where_it_comes_from() -> None:
    options = TrainOptions(iterations=1000, batch_size=8, overrides=("negative_ratio=5:1", "momentum=0.9"))
    settings = resolve(MODERN, options, FACTS)
    assert settings.sources["weight_decay"] == Setting(0.05, "recipe", "recipe modern", 0.05)
    assert settings.sources["boundary_boxes"] == Setting(True, "default", "", True)
    assert settings.sources["batch_size"] == Setting(8, "user", "--batch-size", 16)
    assert settings.sources["negative_ratio"] == Setting(5.0, "user", "--set", 3.0)
    assert settings.sources["momentum"] == Setting(0.9, "user", "--set", 0.9)
    assert settings.sources["iou_threshold"].origin == "data"
    assert settings.sources["iou_threshold"].instead_of == 0.35
    assert settings.sources["steps"].value == settings.steps == 1000
    assert {name: settings.sources[name].value for name in flat_values(MODERN)} == flat_values(settings.recipe)


def test_what_no_recipe_has_is_kept_with_its_origin_too() -> None:
    settings = resolve(MODERN, TrainOptions(seed=3, val_split="none"), FACTS)
    assert settings.table()["seed"] == "3, yours (--seed)"
    assert settings.table()["val_split"] == "none, yours (--val-split)"
    assert settings.sources["boxes"] == Setting("auto", "default", "", "auto")
    assert not {"out", "resume", "overrides", "warmup"} & settings.sources.keys()


def test_what_differs_from_the_recipe_is_told_with_its_origin() -> None:
    settings = resolve(MODERN, TrainOptions(iterations=1000, overrides=("negative_ratio=5", "momentum=0.9")), FACTS)
    told = settings.changes()
    assert "negative_ratio 3 -> 5, yours (--set)" in told
    assert any(line.startswith("iou_threshold 0.35 -> 0.5, from the data: ") for line in told)
    assert not any(line.startswith("momentum") for line in told)
    assert settings.table()["weight_decay"] == "0.05, recipe modern"
    assert settings.table()["momentum"] == "0.9, yours (--set)"


@pytest.mark.parametrize("options", [TrainOptions(batch_size=64), TrainOptions(overrides=("batch_size=64",))])
def test_a_batch_size_of_the_users_is_obeyed_on_a_small_set(options: TrainOptions) -> None:
    settings = resolve(MODERN, options, FACTS)
    assert settings.recipe.batch_size == 64
    assert settings.sources["batch_size"].origin == "user"
    assert settings.steps == 200 * 100 // 64 + 1


@pytest.mark.parametrize("options", [TrainOptions(warmup=90), TrainOptions(overrides=("warmup_steps=90",))])
def test_a_warm_up_of_the_users_is_obeyed_in_a_short_run(options: TrainOptions) -> None:
    settings = resolve(MODERN, replace(options, iterations=100), FACTS)
    assert settings.recipe.warmup_steps == settings.sources["warmup_steps"].value == 90


def test_a_recipes_warm_up_is_at_most_a_fifth_of_the_run() -> None:
    settings = resolve(MODERN, TrainOptions(iterations=100), FACTS)
    assert (settings.recipe.warmup_steps, settings.sources["warmup_steps"].origin) == (20, "data")
    assert resolve(MODERN, TrainOptions(iterations=250), FACTS).recipe.warmup_steps == 50


def test_two_reasons_for_one_setting_are_both_told() -> None:
    """Crowded images halve the batch; a quarter of the set is less still."""
    setting = resolve(MODERN, TrainOptions(), replace(FACTS, images=20, objects=400)).sources["batch_size"]
    assert (setting.value, setting.instead_of) == (5, 16)
    assert "crowded" in setting.reason
    assert "20 images" in setting.reason


@pytest.mark.parametrize(
    ("images", "epochs", "steps"), [(10_000, 30, 18_750), (400, 40, 1000), (40, 200, 800), (20_000, 30, 37_500)]
)
def test_small_sets_get_more_epochs(images: int, epochs: int, steps: int) -> None:
    settings = resolve(MODERN, TrainOptions(), DataFacts(images=images, objects=images))
    assert (settings.sources["epochs"].value, settings.steps) == (epochs, steps)
    assert settings.sources["epochs"].origin == ("data" if epochs > 30 else "default")


def test_all_settings_are_plain_values_in_json() -> None:
    settings = resolve(MODERN, TrainOptions(), FACTS)
    written = json.loads(json.dumps(settings.to_json(), allow_nan=False))
    assert (written["batch_size"]["value"], written["batch_size"]["origin"]) == (16, "recipe")
    assert written["augment.samplers"]["value"][1]["min_iou"] == 0.1
    assert written.keys() == settings.table().keys() >= {"steps", "epochs", "validate_every", "augment.hue_delta"}
