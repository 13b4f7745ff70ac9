"""The `ssd` command: verbs are imported when they are called, errors end as one line and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from singleshot.errors import SingleshotError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "detect": ("singleshot.cli.detect:detect", "Find objects in pictures."),
    "train": ("singleshot.cli.train:train", "Train a detector on labelled pictures."),
    "evaluate": ("singleshot.cli.evaluate:evaluate", "Measure how good a model, or a file of detections, is."),
    "data": ("singleshot.cli.data:app", "Check and describe data sets."),
    "models": ("singleshot.cli.models:models", "List the models there are, or the layers of one."),
    "weights": ("singleshot.cli.weights:app", "Bring in weights of other projects."),
    "demo": ("singleshot.cli.demo:demo", "See it all at work on a data set that draws itself (some minutes)."),
}

EXTRAS = {"torch", "torchvision", "tensorboard", "faster_coco_eval"}
"""Packages of the extra `train`, which detection with an exported model and the data verbs do without."""

WRONG_PATHS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
"""What the machine says of a path that the user chose wrongly."""

app = App(
    name="ssd",
    help="SSD object detection: train on your own pictures, know how good it is, detect with it.",
    version=lambda: metadata.version("singleshot"),
    help_on_error=False,
)
for verb, (where, summary) in VERBS.items():
    app.command(where, name=verb, help=summary)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code of DESIGN's contract."""
    try:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
            raise UnknownNameError("command", arguments[0], VERBS)
        result = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()), 2)
    except SingleshotError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except MemoryError:
        return _fail("not enough memory; a smaller --batch-size or --accumulate helps in training", 4)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRAS:
            raise
        return _fail(f"this needs {error.name}, which is not installed: pip install 'singleshot[train]'", 2)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 (whoever read us has gone; nothing more to say)
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(f"the disk is full: {error.filename or error}", 4)
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}", 2 if isinstance(error, WRONG_PATHS) else 4)
    return result if isinstance(result, int) else 0


def _fail(message: str, exit_code: int) -> int:
    print(f"ssd: {message}", file=sys.stderr)
    return exit_code


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))
