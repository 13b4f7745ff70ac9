"""Every error a user can meet, on one screen.

    SingleshotError
    ├── RequestError            2  the command, a flag or a path is wrong; nothing was started
    │   └── UnknownNameError    2  a name that does not exist; the nearest ones are offered
    ├── DataError               2  a data set cannot be used as it is
    │   └── ImageError          2  one image cannot be used (a run over many goes on and ends with 1)
    ├── ModelError              2  a model folder or weight file does not fit
    ├── HashError               3  a file is not the one that was written or published
    ├── MachineError            4  disk full, out of memory
    └── VerificationError       5  our own check failed
        └── NonFiniteLossError  5  a loss term became NaN or infinite

`exit_code` is the process's exit status when the error reaches the command line, which prints the message as one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class SingleshotError(Exception):
    """Base of all errors that are the user's or the machine's, never a bug of ours."""

    exit_code: ClassVar[int] = 2


class RequestError(SingleshotError):
    """The request is wrong: a flag, a path, a combination. Nothing was started."""


class UnknownNameError(RequestError):
    """A name that does not exist; says which names are near.

    >>> str(UnknownNameError("model", "ssd300-vg16", ["ssd300-vgg16", "ssd512-vgg16"]))
    "unknown model 'ssd300-vg16'; did you mean ssd300-vgg16 or ssd512-vgg16?"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; {offer(name, known)}")


def offer(name: str, known: Iterable[str]) -> str:
    """The names that are near one that does not exist, else all there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"


class DataError(SingleshotError):
    """A data set cannot be used as it is: the message says file, object and what to do."""


class ImageError(DataError):
    """One image cannot be used; a run over many images names it and goes on."""


PictureError = ImageError  # its name in version 0.1.0


class ModelError(SingleshotError):
    """A model folder, configuration or weight file is wrong or does not fit; both sides are named."""


class DownloadError(SingleshotError):
    """A download failed; what came in stays, and the next try goes on from there."""

    exit_code = 3


class HashError(SingleshotError):
    """A file's content is not what its checksum says."""

    exit_code = 3


class MachineError(SingleshotError):
    """The machine failed us: no space left on the disk, not enough memory."""

    exit_code = 4


class WorkerLostError(MachineError):
    """A process that prepares images died: killed, most often, when memory ran out."""


class ImageLostError(MachineError):
    """An image that was there when a run began cannot be read any more."""


class VerificationError(SingleshotError):
    """A check of our own failed; what it would have left behind was removed."""

    exit_code = 5


class NonFiniteLossError(VerificationError):
    """A loss term became NaN or infinite; the message names step, terms and images."""
