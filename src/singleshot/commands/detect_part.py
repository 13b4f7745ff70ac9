"""`ssd detect --part i/n`: a job over many images that may be killed at any moment, and goes on when started again.

The results of each hundred files are saved as they come (`job_folder.py`); at the end they become the file that the
user named.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from singleshot.commands.detect import DetectedImage, DetectOptions, load_detector
from singleshot.commands.job_folder import JobFolder, ShardInWork
from singleshot.commands.part_outputs import PartOutputs
from singleshot.commands.sources import find_sources
from singleshot.errors import DataError, ImageError, RequestError
from singleshot.parts import Part, parse_part
from singleshot.runtime.backends import engine_inside
from singleshot.runtime.detector import Detector
from singleshot.types import Detections

FEW_ERRORS = 10
"""So many files may fail in any job whose user set no limit."""


@dataclass(frozen=True)
class PartOptions:
    """A job over many images, on one machine or several, which goes on where it was when it is started again.

    Attributes:
        part: `2/4`: do the second of four parts of the images, one a machine; `1/1` for all. A file's part follows from
            its name below the source. Results go to `--json FILE.jsonl`, a line a file, or to `FILE.parquet`; a name
            without ending is a folder for all parts. The same command, given again after a kill, goes on.
        parquet: Parquet file for the results of `--part`, a row a file.
        max_errors: files of the part that may fail, such as `100` or `1%`, before it stops; left out, 10%, but ten at
            least. Those that failed are tried again when it is started again.

    Raises:
        RequestError: options that need `--part`, or have the wrong form.
    """

    part: str | None = None
    parquet: Path | None = None
    max_errors: str | None = None

    def __post_init__(self) -> None:
        if self.part is not None:
            parse_part(self.part)
            self.allowed_errors(0)
        elif self.parquet is not None or self.max_errors is not None:
            flag = "--parquet" if self.parquet is not None else "--max-errors"
            raise RequestError(f"{flag} is for jobs in parts: add --part 1/1 to do all on this machine")

    def allowed_errors(self, files: int) -> int:
        """How many of so many files may fail."""
        text = self.max_errors
        if text is None:
            return max(FEW_ERRORS, files // 10)
        try:
            limit = float(text.removesuffix("%"))
        except ValueError:
            limit = -1.0
        whole = text.endswith("%") or limit.is_integer()
        if not (0 <= limit <= (100 if text.endswith("%") else 1e15) and whole):
            raise RequestError(f"--max-errors is a count such as 100 or a share such as 1%, got {text!r}")
        return int(limit * files / 100 + 1e-9) if text.endswith("%") else int(limit)


@dataclass
class PartResult:
    """What a run of a part gave.

    Attributes:
        files: how many the part has.
        taken_over: how many of them had results from an earlier run.
        done: how many have results now.
        failed: how many this run could not use; it tries those again that failed before.
        outputs: the files with all results; empty where it was interrupted.
        interrupted: whether Ctrl-C ended it.
    """

    files: int
    taken_over: int = 0
    done: int = 0
    failed: int = 0
    outputs: list[Path] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class PartListeners:
    """Who hears of a run while it goes on.

    Attributes:
        say: takes a line on each file that cannot be used, and on what may surprise.
        progress: called with the number of files done by this run, and of those that it has to do.
    """

    say: Callable[[str], None] = lambda _line: None
    progress: Callable[[int, int], None] = lambda _done, _total: None


def detect_part(
    sources: Sequence[str | Path],
    options: DetectOptions,
    part_options: PartOptions,
    *,
    detector: Detector | None = None,
    listeners: PartListeners = PartListeners(),
) -> PartResult:
    """Detect in the images of one part, or go on with it.

    Args:
        sources: files, folders, glob patterns.
        options: how to detect; `json` is a file .jsonl or a folder.
        part_options: which part, and how many files may fail.
        detector: a loaded model; None loads that of the options.
        listeners: hear of the run while it goes on.

    Raises:
        RequestError: no such source or model; options that do not go together; the job was begun with others, or is
            at work; a file in place of the results that is not the job's.
        DataError: more files failed than may.
        MachineError: no space left on the disk.
    """
    assert part_options.part is not None
    part = parse_part(part_options.part)
    outputs = _outputs(options, part_options, part)
    detector = detector or load_detector(options)
    if detector.note:
        listeners.say(detector.note)
    settings = _settings(sources, options, part, detector)
    with JobFolder.opened(outputs.job_folder, settings, _files(sources, part, outputs, listeners.say)) as job:
        if job.description.failed is not None and outputs.are_there:
            listeners.say(
                f"{outputs.names} was finished before: nothing to do ({job.place} knows; remove both to begin anew)"
            )
            files, failed = job.description.files, job.description.failed
            return PartResult(files, taken_over=files, done=files, failed=failed, outputs=outputs.places)
        run = _Run(job, detector, options.score, part_options.allowed_errors(job.description.files), listeners)
        result = run.whole()
        if not result.interrupted:
            outputs.write(job)
            job.finish(failed=result.failed)
            result.outputs = outputs.places
    return result


def _outputs(options: DetectOptions, part_options: PartOptions, part: Part) -> PartOutputs:
    """The outputs of a command. Raises RequestError for options that a part cannot serve."""
    others = {
        "--out": options.out,
        "--csv": options.csv,
        "--contact-sheet": options.contact_sheet,
        "--fps": options.fps,
        "--stream": options.stream or None,
    }
    wrong = [flag for flag, value in others.items() if value is not None]
    if wrong:
        raise RequestError(f"--part writes --json FILE.jsonl and --parquet FILE of images alone: leave out {wrong[0]}")
    return PartOutputs.named(options.json, part_options.parquet, part)


def _settings(sources: Sequence[str | Path], options: DetectOptions, part: Part, detector: Detector) -> dict[str, Any]:
    """What determines the results of a part, by the name under which the user knows it."""
    folders = [] if detector.folder is None else [detector.folder, engine_inside(detector.folder)]
    hashes = [sorted(folder.hashes.items()) for folder in folders if folder is not None]
    return {
        "sources": " ".join(map(str, sources)),
        "--part": str(part),
        "a model of SHA-256": hashlib.sha256(repr(hashes or detector.name).encode()).hexdigest()[:16],
        "--score": options.score,
        "--device": options.device,
        "--precision": options.precision,
        "--compile": options.compiled,
        "--backbone": options.backbone,
        "--max-megapixels": detector.max_pixels / 1e6,
        "--tile": options.tile,
        "--overlap": options.overlap if options.tile else None,
        "singleshot": metadata.version("singleshot"),
    }


def _files(
    sources: Sequence[str | Path], part: Part, outputs: PartOutputs, say: Callable[[str], None]
) -> Iterator[str]:
    """The images of the part, in order; the sources are looked at when the first is asked for."""
    outputs.require_free()
    found = find_sources(sources, say=say)
    if found.videos:
        if not found.images:
            raise RequestError(f"--part is for images; {found.videos[0]} is a video: detect in it without")
        count = len(found.videos)
        say(f"{count} video{'s' if count > 1 else ''} left out, such as {found.videos[0]}: --part is for images")
    folders = [path for path in map(Path, sources) if path.is_dir()]
    roots = sorted(("" if path == Path() else os.path.join(path, "") for path in folders), key=len, reverse=True)  # noqa: PTH118
    for path in found.images:
        if part.holds(_name_below(str(path), roots)):
            yield str(path)


def _name_below(file: str, roots: Sequence[str]) -> str:
    """The path of a file below its source folder, which is the same on every machine; else its name."""
    root = next((root for root in roots if file.startswith(root)), None)
    return os.path.basename(file) if root is None else file[len(root) :].replace(os.sep, "/")  # noqa: PTH119


class _Run:
    """One run of `detect_part`: what its steps share."""

    def __init__(
        self, job: JobFolder, detector: Detector, score: float, allowed_errors: int, listeners: PartListeners
    ) -> None:
        self._job, self._detector, self._score = job, detector, score
        self._allowed_errors, self._listeners = allowed_errors, listeners
        self._waiting: deque[ShardInWork] = deque()
        self._result = PartResult(job.description.files)
        self._made = 0

    def whole(self) -> PartResult:
        """Do what is not done."""
        result = self._result
        result.taken_over = self._job.files_in_shards
        if self._job.resumed:
            self._listeners.say(f"{result.taken_over:,} of {result.files:,} images were done before: going on")
        try:
            for item in self._detector.stream(self._files()):
                self._take(item)
        except KeyboardInterrupt:
            result.interrupted = True
        result.done = self._job.files_in_shards
        return result

    def _files(self) -> Iterator[Path]:
        """The files to do."""
        for shard in self._job.unfinished():
            self._waiting.append(shard)
            yield from map(Path, shard.missing)

    def _take(self, item: tuple[Path, Any, Detections] | ImageError) -> None:
        """The result of the next file: results come in the order of the files."""
        shard, result = self._waiting[0], self._result
        if isinstance(item, ImageError):
            self._count_error(item)
            shard.add({"file": shard.missing[0], "error": str(item)})
        else:
            path, pixels, detections = item
            size_wh = (pixels.shape[1], pixels.shape[0])
            shard.add(DetectedImage(path, size_wh, detections.above(self._score)).to_dict())
        if not shard.missing:
            self._job.write(shard)
            self._waiting.popleft()
        self._made += 1
        self._listeners.progress(self._made, max(self._made, result.files - result.taken_over))

    def _count_error(self, error: ImageError) -> None:
        """Name a file that failed; raises DataError where too many have."""
        self._result.failed += 1
        self._listeners.say(str(error))
        if self._result.failed > self._allowed_errors:
            raise DataError(
                f"stopped: {self._result.failed:,} of {self._result.files:,} images cannot be used, and --max-errors "
                f"allows {self._allowed_errors:,}: mend them, or allow more; the same command then goes on"
            )
