"""All errors that a user can cause, with their exit codes.

    SingleshotError
    ├── RequestError            2  the command, a flag or a path is wrong; nothing was started
    │   └── UnknownNameError    2  a name that does not exist; the nearest ones are offered
    ├── DataError               2  a data set cannot be used as it is
    │   ├── ImageError          2  one image cannot be used (a run over many goes on and ends with 1)
    │   │   ├── ImageFormatError  2  no image, or of a format that is not read
    │   │   └── ImageSizeError    2  more pixels or bytes than the limit
    │   └── VideoError          2  one video cannot be used, likewise
    ├── ModelError              2  a model folder or weight file does not fit
    ├── HashError               3  a file is not the one that was written or published
    ├── MachineError            4  disk full, out of memory
    └── VerificationError       5  our own check failed
        └── NonFiniteLossError  5  a loss term became NaN or infinite

`exit_code` is the exit status of the process: the command line prints the message of such an error as one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar


class SingleshotError(Exception):
    """Base of all errors that the user or the machine causes; bugs raise other types."""

    exit_code: ClassVar[int] = 2


class RequestError(SingleshotError):
    """The request is wrong: a flag, a path, a combination. Nothing was started."""


class UnknownNameError(RequestError):
    """A name that does not exist; the message offers similar names, or says what lists all.

    Examples:
        >>> str(UnknownNameError("model", "ssd300-vg16", ["ssd300-vgg16", "ssd512-vgg16"]))
        "unknown model 'ssd300-vg16'; did you mean ssd300-vgg16 or ssd512-vgg16?"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, listed_by: str = "") -> None:
        super().__init__(f"unknown {kind} {name!r}; {offer(name, known, listed_by=listed_by)}")


def offer(name: str, known: Iterable[str], *, listed_by: str = "") -> str:
    """A question with the names that are similar to an unknown one, else all names, or the command that lists them."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"{listed_by} lists them all" if listed_by else f"known: {', '.join(names)}"


def first_of(names: Sequence[str], most: int, *, joint: str = ", ") -> str:
    """The first names of a list for a message, and how many more there are.

    Examples:
        >>> first_of(["a", "b", "c", "d"], 2)
        'a, b and 2 more'
    """
    return joint.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class DataError(SingleshotError):
    """A data set cannot be used as it is; the message names file and object, and says what to do."""


class ImageError(DataError):
    """One image cannot be used; a run over many images names it and goes on."""


class ImageFormatError(ImageError):
    """No image, or one of a format that is not read."""


class ImageSizeError(ImageError):
    """An image of more pixels or bytes than the limit."""


class VideoError(DataError):
    """One video cannot be used; a run over many names it and goes on."""


PictureError = ImageError  # its name in version 0.1.0


class ModelError(SingleshotError):
    """A model folder, configuration or weight file is wrong, or does not fit; the message says expected and got."""


class DownloadError(SingleshotError):
    """A download failed; the downloaded part is kept, and the next try continues from it."""

    exit_code = 3


class HashError(SingleshotError):
    """A file does not have its checksum."""

    exit_code = 3


class MachineError(SingleshotError):
    """The machine failed: no space left on the disk, or not enough memory."""

    exit_code = 4


class WorkerLostError(MachineError):
    """A data-loader process died; most often it was killed because memory ran out."""


class ImageLostError(MachineError):
    """An image that could be read when training began cannot be read any more."""


class VerificationError(SingleshotError):
    """One of our own verifications failed, such as that of an export; its output was removed."""

    exit_code = 5


class NonFiniteLossError(VerificationError):
    """A loss term became NaN or infinite; the message names the step, the terms and the images."""
