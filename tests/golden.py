"""Where the reference data lies, and how tests that need it are skipped where it is absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = Path(os.environ.get("SINGLESHOT_GOLDEN", SHARED / "golden"))

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data (SINGLESHOT_GOLDEN) is not here")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with data and weights is not here")


def index(relative: str) -> Any:
    """The content of a golden index file (JSON), or an empty list where it is missing."""
    path = GOLDEN / relative
    return json.loads(path.read_text()) if path.is_file() else []


def arrays(relative: str) -> dict[str, np.ndarray]:
    """All arrays of a golden file; skips the test where this case is missing."""
    path = GOLDEN / relative
    if not path.is_file():
        pytest.skip(f"golden case {relative} is not here")
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def gauss(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """The integer-based normal numbers of the golden recipes, exact on every machine."""
    count = int(np.prod(shape))
    summed = np.random.RandomState(seed).randint(0, 4097, size=(4, count)).sum(0) - 8192
    return (summed / 2048.0).astype(np.float32).reshape(shape)
