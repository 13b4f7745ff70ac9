"""The reference data: where it is, and what happens where it or a part of it is missing.

Without the golden folder the tests that need it are skipped. In `../shared/golden` every file that a test asks for must
be there: a missing one fails. Another folder, named by `SINGLESHOT_GOLDEN`, may hold some of the cases; tests of the
others are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singleshot.ssd.detection import RawDetections

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = Path(os.environ.get("SINGLESHOT_GOLDEN", SHARED / "golden"))
MAY_BE_PARTIAL = GOLDEN.resolve() != (SHARED / "golden").resolve()

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data (SINGLESHOT_GOLDEN) is not here")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with data and weights is not here")


def golden_file(relative: str, root: Path = GOLDEN, *, may_be_partial: bool = MAY_BE_PARTIAL) -> Path:
    """The path of a golden file; where it is missing, the test fails, or is skipped if the folder may be partial."""
    path = root / relative
    if not path.is_file() and may_be_partial:
        pytest.skip(f"golden case {relative} is not in {root}")
    assert path.is_file(), f"golden file {relative} is missing in {root}"
    return path


def index(relative: str, root: Path = GOLDEN, *, may_be_partial: bool = MAY_BE_PARTIAL) -> Any:
    """The content of a golden index file (JSON); an empty list where it may be missing."""
    path = root / relative
    if not path.is_file() and (may_be_partial or not root.is_dir()):
        return []
    return json.loads(path.read_text())


def arrays(relative: str) -> dict[str, np.ndarray]:
    """All arrays of a golden file; see `golden_file`."""
    with np.load(golden_file(relative)) as stored:
        return {name: stored[name] for name in stored.files}


def default_boxes(name: str) -> dict[str, np.ndarray]:
    """The arrays of golden default boxes, of the folder of priors or of that of matching."""
    relative = f"1_priors/{name}.npz"
    return arrays(relative if (GOLDEN / relative).is_file() else f"2_matching/priors_{name}.npz")


def caffe_rows(images: Sequence[RawDetections]) -> np.ndarray:
    """A batch as Caffe's DetectionOutput lists it: rows of image, class, score, xmin, ymin, xmax, ymax.

    By image, then class (1..L), then score. An image without detections has no row; if none has any, each image has one
    row of its number and six times -1.
    """
    if not any(map(len, images)):
        return np.array([[image, *[-1] * 6] for image in range(len(images))], np.float32).reshape(-1, 7)
    tables = []
    for image, raw in enumerate(images):
        order = np.argsort(raw.labels, kind="stable")
        columns = [np.full(len(raw), image), raw.labels[order] + 1, raw.scores[order]]
        tables.append(np.concatenate([np.stack(columns, axis=1), raw.boxes_xyxy[order]], axis=1))
    return np.concatenate(tables).astype(np.float32)


def gauss(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """The integer-based normal numbers of the golden recipes, exact on every machine."""
    count = int(np.prod(shape))
    summed = np.random.RandomState(seed).randint(0, 4097, size=(4, count)).sum(0) - 8192
    return (summed / 2048.0).astype(np.float32).reshape(shape)
