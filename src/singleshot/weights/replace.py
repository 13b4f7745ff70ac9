"""Replace a folder by a finished new one, so that one of the two is there at every moment."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from singleshot.errors import MachineError, RequestError
from singleshot.files import sync

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux fcntl.h, fs.h
_MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM}

_EVERYWHERE = ("SHA256SUMS", "config.json", "README.md", "learnt.safetensors")
_TENSORS = ("model.safetensors", "base.safetensors", "optimizer.safetensors", "solver.safetensors", "state.json")
_ENGINES = ("model.xml", "model.bin", "model.onnx", "model.pt2")
OURS = frozenset((*_EVERYWHERE, *_TENSORS, *_ENGINES))
"""Names of the files that we write into folders of ours."""


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` to write into; on success it takes the target's place, on failure it vanishes.

    A target without SHA256SUMS, or with sums of what we do not write, is not ours and is refused. Files in it that its
    sums do not list are kept.

    Files are flushed to the disk before the swap. On Linux the swap is one system call. Elsewhere the old folder is
    renamed to `.<name>.old` first: it comes back if the new one cannot be renamed, and a crash between the two leaves
    it there.

    Raises:
        MachineError: the disk is full or failed; the target is as it was.
        RequestError: the place cannot be written to.
    """
    beside = target.parent / f".{target.name}.writing-{os.getpid()}"
    foreign = _foreign(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        yield beside
        for path in foreign:
            if not (beside / path.name).exists():
                _copy(path, beside / path.name)
        for path in (*beside.rglob("*"), beside):
            if not path.is_symlink():
                sync(path)
        _swap(beside, target)
        sync(target.parent)
    except OSError as error:
        if error.errno in _MACHINE_FAULTS:
            raise MachineError(
                f"cannot write {target}: {error.strerror}; what was there before is unchanged"
            ) from error
        raise RequestError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def require_replaceable(target: Path) -> None:
    """Refuse a target that `replaced_folder` would refuse, before long work.

    Raises:
        RequestError: it is no folder of ours, or cannot be written to.
    """
    _foreign(target)
    nearest = next(parent for parent in target.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise RequestError(f"cannot write {target}: {nearest} is no folder that can be written to")


def _foreign(target: Path) -> list[Path]:
    """The files and folders in the target that its sums do not list.

    Raises:
        RequestError: the target is no folder of ours.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise RequestError(f"{target} is no folder; it is not replaced")
    if target.exists() and target.samefile("."):
        raise RequestError(f"{target} is the folder you are in, which cannot be replaced; run this from another")
    inside = sorted(target.iterdir()) if target.exists() else []
    sums = target / "SHA256SUMS"
    if inside and not sums.is_file():
        raise RequestError(f"{target} holds {inside[0].name} and is none of our folders; it is not replaced")
    listed = sums.read_text(encoding="utf-8", errors="replace") if inside else ""
    ours = {sums.name, *(line.partition("  ")[2] for line in listed.splitlines())}
    strangers = sorted(ours - OURS)
    if strangers:
        listed_first = strangers[0] or "nothing"
        raise RequestError(f"{target} holds sums of {listed_first} and is none of our folders; it is not replaced")
    return [path for path in inside if path.name not in ours]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _swap(new: Path, target: Path) -> None:
    """Afterwards `target` is what `new` was; `new` is what the target was, or gone."""
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        old = target.parent / f".{target.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders by Linux' renameat2; False where system or file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)
