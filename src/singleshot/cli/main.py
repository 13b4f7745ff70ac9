"""The `ssd` command. Verbs are imported when they are called; an error becomes one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter

from singleshot.cli.renamed_flags import with_new_names
from singleshot.cli.verbs import VERBS
from singleshot.console import printable
from singleshot.errors import RequestError, SingleshotError, UnknownNameError

EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "tensorboard", "filelock"), "train"),
    "nncf": "export",
    "timm": "backbones",
    "av": "video",
    "pyarrow": "parquet",
    **dict.fromkeys(("starlette", "uvicorn", "python_multipart", "prometheus_client", "h11"), "serve"),
}
"""Packages that detecting with an exported model and `ssd data` do not need -> the extra that installs them."""

WRONG_PATHS = {
    errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
}  # fmt: skip
"""Errors of the system that mean that the user gave a wrong path (exit code 2); others are the machine's (4)."""

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""Parts of torch's RuntimeErrors that mean what Python's MemoryError does."""

app = App(
    name="ssd",
    help="SSD object detection: train on your own images, know how good it is, detect with it.",
    version=lambda: metadata.version("singleshot"),
    help_on_error=False,
    default_parameter=Parameter(negative=()),  # no --no-x, no --empty-x
    suppress_keyboard_interrupt=False,
)
for name, verb in VERBS.items():
    if verb.function.endswith(":app"):  # has sub-commands, each with its own epilogue
        app.command(verb.function, name=name, help=verb.summary)
    else:
        app.command(verb.function, name=name, help=verb.summary, help_epilogue=verb.epilogue)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code of DESIGN's contract."""
    try:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
            raise UnknownNameError("command", arguments[0], VERBS)
        arguments, notes = with_new_names(arguments)
        for note in notes:
            print(f"ssd: {note}", file=sys.stderr)
        with _json_alone_on_stdout(arguments) as arguments:
            result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
            sys.stdout.flush()
    except CycloptsError as error:
        return _fail(_wrong_request(error), 2)
    except SingleshotError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        return _fail("not enough memory; in training a smaller --batch-size helps, or --accumulate", 4)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _fail(f"this needs {error.name}, which is not installed: pip install 'singleshot[{extra}]'", 2)
    except BrokenPipeError:  # whoever read our output has gone
        _silence_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _machine_fault(error)
    return result if isinstance(result, int) else 0


@contextmanager
def _json_alone_on_stdout(arguments: Sequence[str]) -> Iterator[list[str]]:
    """With `--json -` (or /dev/stdout) standard output gets the JSON alone; what people read goes to standard error."""
    arguments = [part for argument in arguments for part in _json_flag(argument)]
    places = [place for place, name in enumerate(arguments) if place and arguments[place - 1] == "--json"]
    places = [place for place in places if arguments[place] in {"-", "/dev/stdout"}]
    if not places:
        yield arguments
        return
    if os.name == "nt":
        raise RequestError("--json - is not known on Windows: give a file")
    sys.stdout.flush()
    json_output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield [f"/dev/fd/{json_output}" if place in places else part for place, part in enumerate(arguments)]
    finally:
        sys.stdout.flush()
        os.dup2(json_output, 1)
        os.close(json_output)


def _json_flag(argument: str) -> list[str]:
    """`--json=FILE` as two arguments, like all others that stay as they are."""
    return ["--json", argument.removeprefix("--json=")] if argument.startswith("--json=") else [argument]


def _wrong_request(error: CycloptsError) -> str:
    verb, argument = " ".join(error.command_chain or ()), error.argument
    if argument is None or not isinstance(error, MissingArgumentError):
        return " ".join(str(error).split())
    if error.keyword is not None or argument.tokens:
        return f"{verb}: {error.keyword or argument.name} needs a value"
    shown = argument.name.removeprefix("--").upper() if argument.index is not None else argument.name
    return f"{verb} needs {shown}; ssd {verb} --help shows an example"


def _machine_fault(error: OSError) -> int:
    if error.errno == errno.ENOSPC:
        if error.filename is None:
            _silence_stdout()
        return _fail(f"the disk is full: {error.filename or 'standard output'}", 4)
    if error.filename is None and "temporary directory" in str(error):
        return _fail("no folder for temporary files can be written to: set TMPDIR to one that can", 4)
    if error.filename is None:
        raise error
    return _fail(f"{error.filename}: {error.strerror}", 2 if error.errno in WRONG_PATHS else 4)


def _silence_stdout() -> None:
    """Drop further output, so that Python's own flush at exit does not fail again."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123


def _fail(message: str, exit_code: int) -> int:
    print(f"ssd: {printable(message)}", file=sys.stderr)
    return exit_code


def _warn(message: Warning | str, *_where: object, **_more: object) -> None:
    print(f"ssd: {printable(str(message))}", file=sys.stderr)


def _in_utf8() -> None:
    """Start again in Python's UTF-8 mode where names of files are ASCII alone: LC_ALL=C with PYTHONUTF8=0.

    There a name that a json states, `käfer.png`, could never be that of a file.
    """
    if sys.getfilesystemencoding() == "ascii" and sys.executable:
        os.environ["PYTHONUTF8"] = "1"  # of worker processes, too
        with suppress(OSError):
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def main() -> None:
    """Entry point of the console script."""
    _in_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
    warnings.showwarning = _warn  # one line, without our file's name and source
    sys.exit(run(sys.argv[1:]))
