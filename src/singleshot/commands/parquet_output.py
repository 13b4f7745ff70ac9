"""Detections as Parquet: the rows of our JSON Lines, a row a file. Needs pyarrow (extra `parquet`).

DuckDB, pandas and Polars take `detections` apart into a row each:

    SELECT file, unnest(detections, recursive := true) FROM 'out.parquet'
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from singleshot.commands.growing_file import written_beside
from singleshot.files import parse_json

GROUP_ROWS = 10_000
SIDES = ("left", "top", "right", "bottom")
DETECTION = pa.struct([("label", pa.string()), *((name, pa.float64()) for name in ("score", *SIDES))])
SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("detections", pa.list_(DETECTION)),
        pa.field("error", pa.string()),
    ]
)
"""Of a file that could not be used all but `file` and `error` are null; `error` of all others is."""


def write_parquet(place: Path, lines: Iterable[str]) -> None:
    """Write JSON Lines as Parquet, whole or not at all, ten thousand rows in memory.

    Args:
        place: the file; one that is there is replaced.
        lines: whole lines, one or several in each text.

    Raises:
        MachineError: no space left on the disk.
    """
    with written_beside(place) as beside, pq.ParquetWriter(beside, SCHEMA, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for text in lines:
            rows += [_row(parse_json(line.encode())) for line in text.splitlines()]
            if len(rows) >= GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """A line of JSON as a row; file names that are no text, which Parquet cannot hold, are escaped."""
    texts: dict[str, Any] = {name: _text(entry[name]) for name in ("file", "error") if name in entry}
    if "error" in entry:
        return texts
    detections = [
        {"label": d["label"], "score": d["score"], **dict(zip(SIDES, d["box"], strict=True))}
        for d in entry["detections"]
    ]
    return {**entry, **texts, "detections": detections}


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
