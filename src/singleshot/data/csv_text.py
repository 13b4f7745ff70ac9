"""A CSV as text: its encoding and delimiter are found out, its rows come as stripped cells."""

from __future__ import annotations

import csv
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from singleshot.data.csv_columns import Columns, columns_of
from singleshot.errors import DataError

LONGEST_ROW = 2**20  # characters
FIRST_ROWS = 200
"""Rows in which one that shows the columns has to be."""


@dataclass(frozen=True)
class TableText:
    """A CSV whose encoding, delimiter and columns are known (None: they cannot be told)."""

    file: Path
    encoding: str
    delimiter: str
    columns: Columns | None = None

    @classmethod
    def open(cls, file: Path) -> TableText:
        """Look at the first rows. Raises DataError where it is no text, or no ordinary file."""
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                raise DataError(f"{file}: not an ordinary file")
            encoding = _encoding(file)
            with file.open(encoding=encoding, newline="") as stream:
                first = stream.readline(LONGEST_ROW)
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: not a CSV: {error}") from None
        delimiter = max(",;\t|", key=first.count)
        rows = [cells for _, cells in islice(cls(file, encoding, delimiter).cells(), FIRST_ROWS)]
        return cls(file, encoding, delimiter, columns_of(rows))

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Line and stripped cells of each row that is not empty."""
        try:
            with self.file.open(encoding=self.encoding, newline="") as stream:
                for line, row in enumerate(csv.reader(stream, delimiter=self.delimiter), 1):
                    cells = [cell.strip() for cell in row]
                    if any(cells) and not (line == 1 and cells[0].lower().startswith("sep=")):
                        yield line, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{self.file}: not a CSV: {error}") from None

    def number(self, text: str) -> float | None:
        """A number, with a decimal comma where the delimiter is another sign."""
        try:
            return float(text if self.delimiter == "," else text.replace(",", "."))
        except ValueError:
            return None


def _encoding(file: Path) -> str:
    """UTF-8, UTF-16 where its mark is there, else Windows-1252."""
    with file.open("rb") as content:
        if content.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
            return "utf-16"
    try:
        with file.open(encoding="utf-8-sig") as text:
            while text.read(2**20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"
