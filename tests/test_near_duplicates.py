"""Images that look nearly the same: found, kept together by a split, and named where splits share them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from data_fixtures import voc, xml
from singleshot.cli.main import run
from singleshot.commands.data_show import ShowOptions, show
from singleshot.commands.data_split import SplitOptions, split
from singleshot.data import near_duplicates
from singleshot.data.check import check
from singleshot.data.near_duplicates import (
    Look,
    Looks,
    joined,
    look_of,
    looks_of,
    members,
    near_duplicate_groups,
    nearest_duplicates,
)
from singleshot.data.whole_set import read_whole_set
from singleshot.errors import DataError
from singleshot.photographs import CHELSEA, COFFEE, PHOTOGRAPHS, ROCKET

if TYPE_CHECKING:
    from pathlib import Path

CAT = ("cat", (5, 5, 30, 30))


def shifted(pixels: np.ndarray, by: int) -> np.ndarray:
    """The next frames of a clip: the camera has moved."""
    return pixels[:, by : pixels.shape[1] - 15 + by]


def clip(pixels: np.ndarray, frames: int) -> list[np.ndarray]:
    return [shifted(pixels, 3 * number) for number in range(frames)]


def test_frames_and_brighter_copies_look_the_same_and_other_photographs_do_not() -> None:
    pixels = CHELSEA.pixels()
    brighter = (pixels * 0.7 + 60).astype(np.uint8)
    images = [*(photograph.pixels() for photograph in PHOTOGRAPHS), shifted(pixels, 6), brighter]
    group = near_duplicate_groups(Looks.of([look_of(image) for image in images]))
    cat = PHOTOGRAPHS.index(CHELSEA)
    assert group.tolist() == [*range(len(PHOTOGRAPHS)), cat, cat]
    assert [rows.tolist() for rows in members(group)] == [[cat, len(images) - 2, len(images) - 1]]


def test_a_horizon_a_caption_and_a_plain_image_are_nothing_in_common() -> None:
    """Rows and columns that change alone have no structure: not one of these is like another."""
    plain = np.full((60, 80, 3), 90, np.uint8)
    horizon = plain.copy()
    horizon[30:] = 200
    assert look_of(plain).structure is None
    assert near_duplicate_groups(Looks.of([look_of(image) for image in (plain, plain, horizon, horizon)])).tolist() == [
        0,
        1,
        2,
        3,
    ]
    assert list(members(np.zeros(0, np.int64))) == []


def test_what_changes_by_rows_or_columns_alone_is_no_part_of_the_structure() -> None:
    pixels = np.random.default_rng(0).integers(0, 100, (64, 96, 3), dtype=np.uint8)
    changed = pixels.copy()
    changed[40:] += 150
    changed[:, :48] += 5
    before, after = look_of(pixels).structure, look_of(changed).structure
    assert before is not None
    assert after is not None
    assert float(before.astype(np.float32) @ after.astype(np.float32)) > 0.99


def by_hand(*looks: tuple[int, list[float]]) -> Looks:
    """Hashes, and structures that point in two directions."""
    structure = np.zeros((len(looks), 256), np.float16)
    for row, (_, values) in enumerate(looks):
        structure[row, : len(values)] = values
    return Looks(np.array([hash_ for hash_, _ in looks], np.uint64), structure)


TEN, ELEVEN = 2**10 - 1, 2**11 - 1
BASE = 1 << 60


@pytest.mark.parametrize("compared", [1, 2**16])
def test_both_hash_and_structure_must_agree_and_groups_join_pair_by_pair(
    compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "COMPARED", compared)
    looks = by_hand(
        (BASE, [1, 0]),
        (BASE ^ TEN, [1, 0]),  # 10 bits
        (BASE ^ (ELEVEN << 20), [1, 0]),  # 11 bits
        (BASE, [0.75, 0.66]),  # correlates with 0.75
        (BASE ^ TEN ^ (TEN << 30), [0.81, 0.58]),  # 10 bits from the second alone, which it correlates with by 0.81
        (0, [1, 0]),  # shows too little
    )
    assert near_duplicate_groups(looks).tolist() == [0, 0, 2, 3, 0, 5]


def test_the_nearest_is_the_one_that_correlates_best() -> None:
    looks = by_hand((BASE, [1, 0]), (0, [1, 0]))
    others = by_hand((BASE ^ TEN, [1, 0]), (BASE, [0.9, 0.4]), (BASE ^ ELEVEN, [1, 0]), (0, [1, 0]), (BASE, [0.7, 0.7]))
    assert nearest_duplicates(looks, others).tolist() == [0, -1]
    assert nearest_duplicates(looks, by_hand((BASE, [0.7, 0.7]))).tolist() == [-1, -1]


def test_equal_images_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    correlations = near_duplicates._correlations

    def count(looks: Looks, left: np.ndarray, others: Looks, right: np.ndarray) -> np.ndarray:
        compared.append(len(left))
        return correlations(looks, left, others, right)

    monkeypatch.setattr(near_duplicates, "_correlations", count)
    looks = by_hand(*[(BASE, [1.0, 0.0])] * 300, (0, [1, 0]), (BASE, [0.7, 0.7]))
    others = by_hand((0, [1, 0]), *[(BASE, [1.0, 0.0])] * 300)
    assert nearest_duplicates(looks, others).tolist() == [1] * 300 + [-1, -1]
    assert sum(compared) < 100
    assert nearest_duplicates(by_hand(), others).tolist() == []


def test_joining_is_transitive() -> None:
    group = joined(np.arange(6), np.array([4, 3, 1]), np.array([5, 4, 2]))
    assert group.tolist() == [0, 1, 1, 3, 3, 3]
    assert joined(group, np.array([5]), np.array([2])).tolist() == [0, 1, 1, 1, 1, 1]


def test_an_image_that_cannot_be_decoded_is_like_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    looks = looks_of([tmp_path / "a.jpg", tmp_path / "a.jpg", CHELSEA.path, CHELSEA.path])
    assert near_duplicate_groups(looks).tolist() == [0, 1, 2, 2]
    assert Look().structure is None


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three clips of six frames each, dealt to the splits in turn, but for the last, which lies in train alone."""
    names = [f"{photograph.name}{number}" for photograph in (CHELSEA, ROCKET, COFFEE) for number in range(6)]
    splits = {"train": [*names[:12:2], *names[12:]], "test": names[1:12:2]}
    root = voc(tmp_path / "clips", {name: xml([CAT], size=None) for name in names}, splits)
    for photograph in (CHELSEA, ROCKET, COFFEE):
        for number, pixels in enumerate(clip(photograph.pixels(), 6)):
            Image.fromarray(pixels).save(root / "JPEGImages" / f"{photograph.name}{number}.png")
    return root


def test_check_names_images_that_are_nearly_in_two_splits(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check(clips)
    assert not report.faults  # it is judged by a threshold
    assert sorted(shared.file.rpartition("/")[2] for shared in report.nearly_shared) == sorted(
        f"{name}{number}.png" for name in ("chelsea", "rocket") for number in (1, 3, 5)
    )
    assert str(report.nearly_shared[0]).startswith("JPEGImages/chelsea1.png in test looks nearly the same as ")
    assert [len(files) for files in report.near_duplicates] == [6, 6, 6]
    assert any(
        "18 images look nearly the same as another (groups: 3, the largest of 6)" in line for line in report.remarks
    )
    assert run(["data", "check", str(clips), "--json", str(tmp_path / "faults.json")]) == 0
    assert "nearly in two splits: 6" in capsys.readouterr().out
    written = json.loads((tmp_path / "faults.json").read_text())
    assert len(written["near_duplicates"]) == 3
    assert written["nearly_in_two_splits"][0]["split"] == "test"
    show(clips, ShowOptions(tmp_path / "page.html"))
    assert "looks nearly the same as JPEGImages/chelsea" in (tmp_path / "page.html").read_text()


def test_the_very_same_file_in_two_splits_is_named_once(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": [CAT]}, {"train": ["a"], "val": ["b"]})
    (root / "JPEGImages/b.png").write_bytes((root / "JPEGImages/a.png").read_bytes())
    report = check(root)
    assert [fault.kind for fault in report.faults] == ["in two splits"]
    assert not report.nearly_shared


def test_a_split_keeps_near_duplicates_together(clips: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    options = SplitOptions(tmp_path / "out", val=0.34, keep_together="near-duplicates")
    written = split(clips, options, on_image=lambda *progress: done.append(progress))
    assert "18 of 18 images look nearly the same as another: 3 groups of up to 6 are never parted" in written.remarks
    assert written.splits == {"train": 12, "val": 6}
    assert done[-1] == (36, 36)
    data = read_whole_set(tmp_path / "out")
    (val,) = {data.places[index].rstrip("0123456789.png") for index in data.splits["val"]}
    assert val in {"chelsea", "rocket", "coffee"}
    assert not check(tmp_path / "out").nearly_shared


def test_groups_of_a_pattern_and_near_duplicates_are_joined(clips: Path, tmp_path: Path) -> None:
    def remarks(pattern: str) -> tuple[str, ...]:
        options = SplitOptions(
            tmp_path / str(len(pattern)), val=0.34, group=pattern, keep_together="near-duplicates", images="none"
        )
        return split(clips, options).remarks

    assert "3 groups after those of --group were joined with them" in remarks("(chelsea|rocket)")
    assert "2 groups after those of --group were joined with them" in remarks("()(chelsea0|rocket0)")
    with pytest.raises(DataError, match="1 images or groups cannot be split"):
        remarks("(e)")
