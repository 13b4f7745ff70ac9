"""The specification: its checks, and configurations that earlier versions wrote."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from singleshot.errors import RequestError, UnknownNameError
from singleshot.spec import Compatibility, ModelSpec, migrate_spec
from singleshot.train.resume_check import completed, differences
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2, VARIANTS
from singleshot.weights.folder import read_spec

BEFORE = Path(__file__).parent / "fixtures" / "before" / "config.json"  # of an Ultra-Light-Face detector


def before(spec: ModelSpec) -> dict:
    """Plain values of a spec, as the version before `Compatibility` wrote them."""
    values = json.loads(json.dumps(asdict(spec)))
    compatibility = values.pop("compatibility")
    later = (
        (values, ("shared_head",)),
        (values["postprocess"], ("scores", "across_classes")),
        (compatibility, ("activation", "lite_norm")),
        *((block, ("tensorflow_padding",)) for block in values["extras"]),
        *((boxes, ("sizes_wh", "offset", "step_h")) for boxes in values["boxes"]["maps"]),
    )
    for part, names in later:
        for name in names:
            del part[name]
    values["boxes"]["limit"] = compatibility.pop("box_limits")
    return {**values, **compatibility}


def test_a_config_of_the_version_before_still_loads(tmp_path: Path) -> None:
    content = BEFORE.read_bytes()
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  config.json\n")
    spec = read_spec(tmp_path)
    assert spec.compatibility == Compatibility(
        lite_activation="relu", full_heads=("extra1_2",), box_limits=("centres", "sizes")
    )
    assert before(spec) == json.loads(content)["model"]


@pytest.mark.parametrize(
    "spec", [spec for spec in VARIANTS.values() if not spec.is_quality_aware], ids=lambda spec: spec.name
)
def test_migration_moves_every_field_and_changes_no_new_form(spec: ModelSpec) -> None:
    old, new = before(spec), json.loads(json.dumps(asdict(spec)))
    untouched = json.loads(json.dumps(old))
    assert json.loads(json.dumps(migrate_spec(old))) == new
    assert old == untouched
    assert migrate_spec(new) == new


@pytest.mark.parametrize("values", [None, 3, "x", [], ["boxes"]])
def test_what_is_no_specification_stays(values: object) -> None:
    assert migrate_spec(values) == values


def test_a_run_of_the_version_before_has_the_same_model() -> None:
    now = completed({"model": asdict(SSDLITE320_MOBILENETV2)})
    assert differences(completed({"model": before(SSDLITE320_MOBILENETV2)}), now) == []
    other = {**before(SSDLITE320_MOBILENETV2), "tensorflow_padding": False}
    assert differences(completed({"model": other}), now) == [
        "model.compatibility.tensorflow_padding was False, is True"
    ]


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="corners"):
        Compatibility(box_limits=("corners",))
    with pytest.raises(UnknownNameError, match="swish"):
        Compatibility(lite_activation="swish")
    with pytest.raises(UnknownNameError, match="conv1_1"):
        replace(SSD300_VGG16, compatibility=Compatibility(full_heads=("conv1_1",)))
    with pytest.raises(RequestError, match="5"):
        replace(SSD300_VGG16, sources=SSD300_VGG16.sources[:5])
