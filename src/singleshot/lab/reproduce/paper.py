"""The figures that the paper prints, as they stand in its tables (`paper.json`; its note says which were checked)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

PER_CLASS = "AP"


def printed(table: str) -> list[dict[str, Any]]:
    """The rows of a table that is a list of rows, by its name in `paper.json`; figures in percent."""
    return cast("list[dict[str, Any]]", _tables()[table]["rows"])


def expansion(model: str) -> dict[str, float]:
    """Table 6: the figures of `SSD300`, `SSD512*` and so on, by column."""
    table = _tables()["table6_expansion"]
    return dict(zip(table["columns"], table["rows"][model], strict=True))


def method(table: str, name: str, data: str) -> dict[str, Any]:
    """The row of a method that learnt certain data in table 1 or 4."""
    return next(row for row in printed(table) if (row["method"], row["data"]) == (name, data))


def _tables() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8")))
