"""How the command line ends: each kind of failure is one line on stderr and the exit code of the contract."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_fixtures import image, voc
from singleshot.cli import main
from singleshot.errors import (
    DataError,
    DownloadError,
    HashError,
    ImageError,
    MachineError,
    ModelError,
    NonFiniteLossError,
    RequestError,
    VerificationError,
    WorkerLostError,
)

FULL_DISK = OSError(errno.ENOSPC, "No space left on device", "out.json")


@pytest.mark.parametrize(
    ("error", "exit_code", "token"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (FULL_DISK, 4, "out.json"),
        (MachineError("no space"), 4, "no space"),
        (WorkerLostError("worker 3"), 4, "worker 3"),
        (MemoryError(), 4, "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 4, "--batch-size"),
        (OSError(errno.EIO, "Input/output error", "a.jpg"), 4, "a.jpg"),
        (FileNotFoundError(errno.ENOENT, "No such file", "b.jpg"), 2, "b.jpg"),
        (PermissionError(errno.EACCES, "Permission denied", "c.jpg"), 2, "c.jpg"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), 4, "TMPDIR"),
        (RequestError("--flag"), 2, "--flag"),
        (DataError("set"), 2, "set"),
        (ImageError("d.jpg"), 2, "d.jpg"),
        (ModelError("model"), 2, "model"),
        (DownloadError("address"), 3, "address"),
        (HashError("sum"), 3, "sum"),
        (VerificationError("1e-3"), 5, "1e-3"),
        (NonFiniteLossError("step 7"), 5, "step 7"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "singleshot[train]"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_a_failure_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    exit_code: int,
    token: str,
) -> None:
    def verb(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", verb)
    assert main.run(["detect"]) == exit_code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("ssd: ")
    assert output.err.count("\n") == 1
    assert token in output.err


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EBADF, "Bad file descriptor"), KeyError("a")])
def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def verb(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", verb)
    with pytest.raises(type(error)):
        main.run(["detect"])


@pytest.mark.parametrize(("result", "exit_code"), [(None, 0), (0, 0), (1, 1)])
def test_a_verb_says_whether_inputs_failed(monkeypatch: pytest.MonkeyPatch, result: int | None, exit_code: int) -> None:
    monkeypatch.setattr(main, "app", lambda *_arguments, **_options: result)
    assert main.run(["detect"]) == exit_code


@pytest.mark.parametrize(
    ("arguments", "token"),
    [(["detekt"], "detect"), (["data", "check", "--no-such-flag"], "--no-such-flag"), (["data", "check"], "DATA")],
)
def test_a_wrong_request_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], token: str) -> None:
    assert main.run(arguments) == 2
    assert token in capsys.readouterr().err


WAITING = """
import sys, time
from singleshot.cli import main
main.app = lambda *_arguments, **_options: (print("ready", flush=True), time.sleep(60))
sys.argv[1:] = ["detect"]
main.main()
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "ssd: evaluate needs DATA; ssd evaluate --help shows an example"),
        (["weights", "import", "a.pth"], "ssd: weights import needs --out; ssd weights import --help shows an example"),
        (["train", "set", "--epochs"], "ssd: train: --epochs needs a value"),
    ],
)
def test_what_was_left_out_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main.run(arguments) == 2
    assert capsys.readouterr().err.splitlines() == [message]


def test_ctrl_c_ends_the_process_with_130() -> None:
    with subprocess.Popen(
        (sys.executable, "-c", WAITING), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "ssd: stopped\n")


WHILE_IMPORTING = """
import os, signal, sys, types
import singleshot.__main__ as entry
class Importing(types.ModuleType):
    def __getattr__(self, name):
        exec("os.kill(os.getpid(), signal.SIGINT)", {"os": os, "signal": signal})
sys.modules["singleshot.cli.main"] = Importing("singleshot.cli.main")
entry.main()
"""
"""Ctrl-C while the command line is imported, in code that `exec` runs."""


def test_ctrl_c_while_modules_are_imported_ends_the_process_with_130() -> None:
    process = subprocess.run(
        (sys.executable, "-c", WHILE_IMPORTING), check=False, capture_output=True, text=True, timeout=60
    )
    assert (process.returncode, process.stderr) == (130, "ssd: stopped\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev/fd")
@pytest.mark.parametrize("flags", [["--json", "-"], ["--json=-"], ["--json", "/dev/stdout"]])
def test_json_is_alone_on_standard_output(tmp_path: Path, flags: list[str]) -> None:
    data = voc(tmp_path / "set", {"a": [("cat", (1, 2, 10, 12))]})
    command = (sys.executable, "-m", "singleshot", "data", "stats", str(data), *flags)
    process = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0
    assert json.loads(process.stdout)["classes"]["cat"]
    assert "cat" in process.stderr


needs_dev_full = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full"
)


@needs_dev_full
def test_a_full_disk_ends_the_process_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = voc(tmp_path / "set", {"a": [("cat", (1, 2, 10, 12))]})
    assert main.run(["data", "check", str(data), "--json", "/dev/full"]) == 4
    assert "/dev/full" in capsys.readouterr().err


@needs_dev_full
def test_standard_output_on_a_full_disk_is_one_line() -> None:
    code = "from singleshot.cli import main; main.main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            (sys.executable, "-c", code, "models"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 4
    assert done.stderr == "ssd: the disk is full: standard output\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from singleshot.cli import main; main.main()"
    done = subprocess.run(
        (sys.executable, "-c", code, "models"), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_names_beyond_ascii_in_an_ascii_locale(tmp_path: Path) -> None:
    """And without HOME, and with files and classes that have umlauts."""
    image(tmp_path / "sätze" / "käfer.png")
    (tmp_path / "sätze" / "käfer.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "sätze" / "classes.txt").write_text("Käfer\n", encoding="utf-8")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("HOME", None)
    for words in (["convert", "sätze", "--to", "coco", "--out", "neü"], ["check", "neü"]):
        done = subprocess.run(
            (sys.executable, "-m", "singleshot", "data", *words),
            cwd=tmp_path, env=environment, check=False, capture_output=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
    assert "1 images, 1 boxes" in done.stdout.decode()
    assert "käfer.png" in (tmp_path / "neü/annotations/instances_all.json").read_text(encoding="utf-8")
