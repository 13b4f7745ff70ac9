from __future__ import annotations

import pytest

from singleshot.errors import RequestError, UnknownNameError
from singleshot.train.overrides import overridden
from singleshot.train.recipe import Recipe


def test_any_setting_may_be_given_by_its_name() -> None:
    texts = [
        "label_smoothing=0.1",
        "warmup_steps = 7",
        "solver=adamw",
        "augment.keep_difficult=false",
        "augment.interpolations=area,linear",
        "augment.contrast_range=0.9,1.1",
    ]
    recipe = overridden(Recipe(), texts)
    assert (recipe.label_smoothing, recipe.warmup_steps, recipe.solver) == (0.1, 7, "adamw")
    assert recipe.augment.keep_difficult is False
    assert recipe.augment.interpolations == ("area", "linear")
    assert recipe.augment.contrast_range == (0.9, 1.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("average", "takes NAME=VALUE"),
        ("average=much", "expected a number"),
        ("warmup_steps=1.5", "expected a whole number"),
        ("augment.keep_difficult=maybe", "expected true or false"),
        ("augment.contrast_range=a,b", "expected such as 0.5,1.5"),
        ("augment=none", "has parts"),
        ("average.decay=1", "has no parts"),
        ("augment.samplers=1", "cannot be given as text"),
        ("average=1", "average must be from 0 up to 1"),
    ],
)
def test_what_cannot_be_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        overridden(Recipe(), [text])


@pytest.mark.parametrize("text", ["averag=0.9", "augment.expand=1", "solver=adam", "localisation_loss=iou"])
def test_unknown_names_get_an_offer(text: str) -> None:
    with pytest.raises(UnknownNameError):
        overridden(Recipe(), [text])


@pytest.mark.parametrize(
    "assignment",
    [
        "overlap_threshold=5",
        "overlap_threshold=nan",
        "negative_ratio=-3",
        "negative_ratio=nan",
        "localisation_weight=inf",
        "weight_decay=-5",
        "bias_rate=nan",
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
