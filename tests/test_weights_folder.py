"""Model folders: what is written comes back, and whatever is damaged or invalid is refused by name."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from singleshot.errors import HashError, MachineError, ModelError, RequestError
from singleshot.photographs import CHELSEA
from singleshot.runtime.detector import Detector
from singleshot.spec import BoxSpec, MapBoxes, Postprocess
from singleshot.variants import SSD300_VGG16, VARIANTS
from singleshot.weights import folder
from singleshot.weights import replace as replacing
from singleshot.weights.bounds import require_bounds
from singleshot.weights.replace import replaced_folder, require_replaceable

if TYPE_CHECKING:
    from collections.abc import Callable

TENSORS = {
    "backbone.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7,
    "backbone.conv.norm.running_var": np.array([1e-9, 70000], np.float32),
    "backbone.conv.norm.num_batches_tracked": np.array(3, np.int64),
}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder.save_folder(tmp_path / "model", SSD300_VGG16, TENSORS, card="# A model\n", provenance={"epochs": 3})
    return tmp_path / "model"


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=list(VARIANTS))
def test_round_trip(tmp_path: Path, spec: Any) -> None:
    provenance = {"mAP": float("nan"), "rates": (0.1, 2), "note": "ü"}
    folder.save_folder(tmp_path / "m", spec, TENSORS, card="card", provenance=provenance)
    loaded = folder.read_folder(tmp_path / "m")
    assert loaded.spec == spec
    assert folder.read_spec(tmp_path / "m") == spec
    assert loaded.provenance == {"mAP": None, "rates": [0.1, 2], "note": "ü"}
    assert loaded.tensors().keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(loaded.tensors()[name], array, strict=True)
    folder.read_folder(tmp_path / "m").verify()
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


BEFORE = Path(__file__).parent / "fixtures" / "before"
"""Written before the words of files were changed, with seeded weights."""


@pytest.mark.parametrize("kind", ["model", "export"])
def test_a_folder_of_the_version_before_still_loads_and_detects_the_same(kind: str) -> None:
    stored = folder.read_folder(BEFORE / kind)
    stored.verify()
    assert (stored.spec.name, stored.spec.class_names) == ("tiny", ("cat", "dog"))
    assert stored.provenance == {"recipe": {"name": "modern"}, "seed": 0}
    detections = Detector.load(BEFORE / kind)(CHELSEA.path)
    for expected in json.loads((BEFORE / "model_detections.json").read_text()):
        far = np.abs(detections.boxes - expected["box"]).max(axis=1)
        nearest = min(
            (row for row in range(len(far)) if detections.names[row] == expected["label"]), key=far.__getitem__
        )
        assert far[nearest] < 0.1
        score = 1e-4 if kind == "model" else 0.05  # the export computes in bf16
        assert detections[nearest].score == pytest.approx(expected["score"], abs=score)


def test_transposed_arrays_keep_their_values(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    folder.save_folder(tmp_path / "m", SSD300_VGG16, {"a": array}, card="")
    np.testing.assert_array_equal(folder.read_folder(tmp_path / "m").tensors()["a"], array)


def test_half_precision_halves_weights_but_not_statistics(tmp_path: Path) -> None:
    huge = {"heads.x.weight": np.array([1e6, 1], np.float32)}
    folder.save_folder(tmp_path / "m", SSD300_VGG16, {**TENSORS, **huge}, card="", half=True)
    tensors = folder.read_folder(tmp_path / "m").tensors()
    weight = TENSORS["backbone.conv.weight"]
    assert tensors["backbone.conv.weight"].dtype == np.float32
    np.testing.assert_array_equal(tensors["backbone.conv.weight"], weight.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(tensors["backbone.conv.norm.running_var"], TENSORS["backbone.conv.norm.running_var"])
    np.testing.assert_array_equal(tensors["heads.x.weight"], huge["heads.x.weight"])


def test_every_flipped_bit_is_refused_and_its_file_named(stored: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("config.json", "model.safetensors", "README.md", "SHA256SUMS"):
        path = stored / name
        content = path.read_bytes()
        for position in random.integers(0, 8 * len(content), size=60):
            damaged = bytearray(content)
            damaged[position // 8] ^= 1 << (position % 8)
            path.write_bytes(damaged)
            with pytest.raises((HashError, ModelError), match=r"\.json|\.safetensors|\.md|SHA256SUMS") as caught:
                folder.read_folder(stored).verify()
            if name != "SHA256SUMS":
                assert name in str(caught.value)
                assert isinstance(caught.value, HashError)
        path.write_bytes(content)
    folder.read_folder(stored).verify()


def test_a_cut_file_is_refused(stored: Path) -> None:
    path = stored / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(HashError, match=r"model\.safetensors"):
        folder.read_folder(stored).tensors()


def test_missing_files_are_named(stored: Path, tmp_path: Path) -> None:
    (stored / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        folder.read_folder(stored).tensors()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="empty"):
        folder.read_spec(tmp_path / "empty")


def with_configuration(stored: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change config.json and make its hash fit, as a hostile author would."""
    value = json.loads((stored / "config.json").read_text())
    change(value)
    with_text(stored, json.dumps(value))


def with_text(stored: Path, text: str) -> None:
    old = hashlib.sha256((stored / "config.json").read_bytes()).hexdigest()
    (stored / "config.json").write_text(text)
    sums = (stored / "SHA256SUMS").read_text().replace(old, hashlib.sha256(text.encode()).hexdigest())
    (stored / "SHA256SUMS").write_text(sums)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown field": (lambda c: c["model"].update(extra=1), r"model\.extra"),
    "unknown field above": (lambda c: c.update(code="x"), "code"),
    "unknown field in a map": (lambda c: c["model"]["boxes"]["maps"][1].update(size=1), r"maps\.1\.size"),
    "missing field": (lambda c: c["model"].pop("sources"), r"model\.sources"),
    "NaN": (lambda c: c["model"].update(width=float("nan")), r"model\.width"),
    "infinite step": (lambda c: c["model"]["boxes"]["maps"][0].update(step=float("inf")), r"maps\.0\.step"),
    "infinite variance": (lambda c: c["model"]["boxes"].update(variances=[1, 1, 1, float("inf")]), r"variances\.3"),
    "text for a number": (lambda c: c["model"].update(width="1.0"), r"model\.width"),
    "number for truth value": (lambda c: c["model"].update(batch_norm=1), r"model\.batch_norm"),
    "float for whole": (lambda c: c["model"].update(head_kernel=3.5), r"model\.head_kernel"),
    "short tuple": (lambda c: c["model"].update(input_size_hw=[300]), r"model\.input_size_hw"),
    "same names": (lambda c: c["model"].update(class_names=["a", "a"]), "class names"),
    "no names": (lambda c: c["model"].update(class_names=[]), "class names"),
    "channel order": (lambda c: c["model"]["preprocess"].update(channel_order="gbr"), "channel order"),
    "future format": (lambda c: c.update(format=99), "format 99"),
    "huge input": (lambda c: c["model"].update(input_size_hw=[10**6, 10**6]), "input_size_hw"),
    "huge channels": (lambda c: c["model"]["extras"][0].update(channels=10**9), "channels"),
    "zero deviation": (lambda c: c["model"]["preprocess"].update(std_rgb=[0, 1, 1]), "std_rgb"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_invalid_configurations_are_refused_with_the_place(stored: Path, case: str) -> None:
    change, place = CHANGES[case]
    with_configuration(stored, change)
    with pytest.raises(ModelError, match=place) as caught:
        folder.read_spec(stored)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", '{"format": 1e999}', "\x00"])
def test_what_is_no_configuration_is_refused(stored: Path, text: str) -> None:
    with_text(stored, text)
    with pytest.raises(ModelError, match=r"config\.json"):
        folder.read_spec(stored)


@pytest.mark.parametrize("name", ["../secret", "a/b", "a\\b", ""])
def test_sums_cannot_point_outside_the_folder(stored: Path, name: str) -> None:
    (stored / "SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(HashError, match="SHA256SUMS"):
        folder.read_folder(stored).verify()


def test_a_full_disk_leaves_the_old_folder(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder.read_folder(stored)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(replacing, "sync", full)
    other = replace(SSD300_VGG16, class_names=("cell",))
    with pytest.raises(MachineError, match="No space left on device"):
        folder.save_folder(stored, other, TENSORS, card="")
    assert folder.read_folder(stored).spec == before.spec
    assert [p.name for p in stored.parent.iterdir()] == [stored.name]


def test_a_place_that_cannot_be_written_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot write"):
        folder.save_folder(tmp_path / "file" / "model", SSD300_VGG16, TENSORS, card="")


@pytest.mark.parametrize("exchange", [True, False])
def test_an_old_folder_is_replaced_whole(stored: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(replacing, "_exchange", lambda _a, _b: False)
    (stored / "left-over.txt").write_text("old")
    folder.save_folder(stored, replace(SSD300_VGG16, class_names=("cell",)), {}, card="new")
    assert folder.read_spec(stored).class_names == ("cell",)
    assert (stored / "left-over.txt").read_text() == "old"  # not ours: not ours to remove
    assert [p.name for p in stored.parent.iterdir()] == [stored.name]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems cannot exchange two folders at once")
def test_a_folder_is_replaced_without_a_moment_without_one(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is renamed: the two folders change places in one system call."""
    monkeypatch.setattr(type(stored), "rename", lambda old, new: pytest.fail(f"{old} was renamed to {new}"))
    folder.save_folder(stored, replace(SSD300_VGG16, class_names=("cell",)), {}, card="new")
    assert folder.read_spec(stored).class_names == ("cell",)


def test_where_folders_cannot_be_exchanged_the_old_one_comes_back_after_a_failure(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = type(stored).rename

    def no_new_folder(old: Path, new: Path) -> Path:
        if ".writing-" in old.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(old, new)

    monkeypatch.setattr(replacing, "_exchange", lambda _a, _b: False)
    monkeypatch.setattr(type(stored), "rename", no_new_folder)
    with pytest.raises(MachineError, match="Input/output error"):
        folder.save_folder(stored, replace(SSD300_VGG16, class_names=("cell",)), {}, card="new")
    assert folder.read_spec(stored) == SSD300_VGG16
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


def test_reading_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import singleshot.weights.folder"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_of_others_is_refused_and_files_beside_ours_are_kept(stored: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_text("sun")
    with pytest.raises(RequestError, match=r"holiday\.jpg"), replaced_folder(foreign):
        pass
    (stored / "notes.txt").write_text("precious")
    (stored / "more").mkdir()
    with replaced_folder(stored) as beside:
        (beside / "SHA256SUMS").write_text("")
    assert sorted(path.name for path in stored.iterdir()) == ["SHA256SUMS", "more", "notes.txt"]


def test_the_folder_one_is_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for here in (tmp_path.relative_to(tmp_path), tmp_path):
        with pytest.raises(RequestError, match="folder you are in"), replaced_folder(here):
            pass


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder.save_folder(tmp_path / "m", SSD300_VGG16, {"a": np.array([1, np.nan], np.float32)}, card="")
    with pytest.raises(ModelError, match="not finite"):
        folder.read_folder(tmp_path / "m").tensors()


def boxes_of(first: MapBoxes) -> BoxSpec:
    return replace(SSD300_VGG16.boxes, maps=(first, *SSD300_VGG16.boxes.maps[1:]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("a", "background")}, "background"),
        ({"class_names": ("a\nb",)}, r"a\\nb"),
        ({"postprocess": Postprocess(top_k=-5)}, "top_k"),
        ({"postprocess": Postprocess(nms_threshold=-3)}, "nms_threshold"),
        ({"postprocess": Postprocess(nms_threshold=float("nan"))}, "nms_threshold"),
        ({"boxes": boxes_of(MapBoxes((10,), aspect_ratios=tuple(range(1, 200))))}, "sizes and ratios"),
        ({"boxes": boxes_of(MapBoxes((10,), step=0.0))}, "step of a map"),
    ],
)
def test_contradictory_specifications_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        require_bounds(replace(SSD300_VGG16, **change), "x")


def test_a_folder_with_sums_of_others_is_not_ours(tmp_path: Path) -> None:
    """As downloads of disk images come."""
    (tmp_path / "holiday.iso").write_text("precious")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  holiday.iso\n")
    with pytest.raises(RequestError, match=r"holiday\.iso"):
        require_replaceable(tmp_path)
    assert (tmp_path / "holiday.iso").read_text() == "precious"
