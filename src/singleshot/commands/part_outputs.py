"""The files that the results of a part become, and the folder of its job beside them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from singleshot.commands.detections_output import LINES_SUFFIXES
from singleshot.commands.growing_file import GrowingFile
from singleshot.commands.job_folder import JobFolder
from singleshot.errors import RequestError
from singleshot.files import is_device, require_output
from singleshot.parts import Part


@dataclass(frozen=True)
class PartOutputs:
    """The files that the results of a part become.

    Attributes:
        json: JSON Lines, where they are wanted.
        parquet: Parquet, where it is wanted.
    """

    json: Path | None
    parquet: Path | None

    @classmethod
    def named(cls, json: Path | None, parquet: Path | None, part: Part) -> PartOutputs:
        """The outputs that a user named; a folder gets a file of the part's number.

        Raises:
            RequestError: none, or a file that cannot hold the results of a part.
            ModuleNotFoundError: Parquet without pyarrow.
        """
        if json is None and parquet is None:
            raise RequestError("--part needs a file for its results: --json FILE.jsonl, or --parquet FILE.parquet")
        if parquet is not None:
            import pyarrow.parquet  # noqa: F401  (before any work: it may be missing)
        return cls(_place(json, "--json", LINES_SUFFIXES, part), _place(parquet, "--parquet", (".parquet",), part))

    @property
    def places(self) -> list[Path]:
        """The files."""
        return [place for place in (self.json, self.parquet) if place is not None]

    @property
    def names(self) -> str:
        """The files, for messages."""
        return " and ".join(map(str, self.places))

    @property
    def job_folder(self) -> Path:
        """The folder of the job, beside the first of the files."""
        first = self.places[0]
        return first.with_name(f"{first.name}.job")

    @property
    def are_there(self) -> bool:
        """Whether all exist."""
        return all(place.is_file() for place in self.places)

    def require_free(self) -> None:
        """Refuse to begin a job whose outputs exist or cannot be written. Raises RequestError."""
        for flag, place in (("--json", self.json), ("--parquet", self.parquet)):
            require_output(place, flag, ())
            if place is not None and os.path.lexists(place):
                raise RequestError(f"{place} is there, and not of this job: remove it, or give {flag} another name")

    def write(self, job: JobFolder) -> None:
        """Join the shards. Raises MachineError where no space is left on the disk."""
        for place in self.places:
            for half in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
                half.unlink()  # of a process that was killed while it joined them
        if self.json is not None:
            file, whole = GrowingFile(self.json), False
            try:
                for content in job.shards():
                    file.write(content)
                whole = True
            finally:
                file.close(whole=whole)
        if self.parquet is not None:
            from singleshot.commands.parquet_output import write_parquet

            write_parquet(self.parquet, job.shards())


def _place(path: Path | None, flag: str, suffixes: Sequence[str], part: Part) -> Path | None:
    """The file of a part: as the user named it, or by its number in the folder that the user named."""
    if path is None:
        return None
    if is_device(path) or (not path.is_dir() and path.suffix and path.suffix.lower() not in suffixes):
        raise RequestError(f"{flag} with --part is a file {' or '.join(suffixes)}, or a folder; got {path}")
    if path.is_dir() or not path.suffix:
        width = len(str(part.count))
        return path / f"part-{part.number:0{width}}-of-{part.count}{suffixes[0]}"
    return path
