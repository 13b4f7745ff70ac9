"""Open a data set of any format that we read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from singleshot.data.faults import refuse
from singleshot.data.voc import read_voc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from singleshot.types import Annotations


def open_data(path: Path | str, *, split: str | None = None, class_names: Sequence[str] | None = None) -> Annotations:
    """Recognise the format and read the truths."""
    reading = read_voc(Path(path), split=split)
    refuse(reading.faults, where=str(path))
    return reading.annotations
