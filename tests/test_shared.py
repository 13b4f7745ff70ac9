"""Sets in shared memory: the same content, and next to nothing to send to another process."""

from __future__ import annotations

from dataclasses import fields, replace
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.data.loader import TrainingDataset
from singleshot.data.shared import PackedStrings, to_shared_memory
from test_loader import make_set

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=5), max_size=6))
def test_texts_are_those_that_went_in(texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    packed = PackedStrings(np.frombuffer(b"".join(encoded), np.uint8), ends)
    assert list(packed) == texts
    assert list(packed[1:3]) == texts[1:3]
    if texts:
        assert packed[-1] == texts[-1]
        assert texts[0] in packed
    with pytest.raises(IndexError):
        packed[len(texts)]


def test_a_shared_set_is_the_set(tmp_path: Path) -> None:
    annotations = replace(make_set(tmp_path), files=("a.jpg", "ä.jpg", "\udcff.jpg", "", "e/f.jpg"))
    shared = to_shared_memory(annotations).annotations()
    assert shared.fingerprint() == annotations.fingerprint()
    for field in fields(annotations):
        one, other = getattr(shared, field.name), getattr(annotations, field.name)
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        else:
            assert (tuple(one) if isinstance(one, PackedStrings) else one) == other


def test_another_process_gets_handles_only(tmp_path: Path) -> None:
    small = make_set(tmp_path)
    many = small.subset([4] * 5000)
    augmentation = CaffeAugmentation((32, 32), (123, 117, 104), AugmentSettings())
    sizes = [len(ForkingPickler.dumps(TrainingDataset(one, augmentation, seed=0))) for one in (small, many)]
    assert many.boxes_xyxy.nbytes > 300_000
    assert sizes[1] < sizes[0] + 500
