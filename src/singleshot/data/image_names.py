r"""Find the images that an annotation file names, below the folder of the set.

Labelling tools write names in many ways: `p0.jpg`, `images\p0.jpg`, an absolute path of the machine that wrote them,
the address of an upload (`http://host/data/upload/1/p0.jpg`, `/data/local-files/?d=images/p0.jpg`). Nothing is ever
fetched: of an address or of another machine's path the longest ending counts that is a file below the set's folder.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from singleshot.data.faults import Fault
from singleshot.data.images import IMAGE_SUFFIXES, is_image
from singleshot.image_formats import UNREAD_SUFFIXES

MOST_FILES = 200_000
DEEPEST = 5
"""Files below the folder of a set, and levels of folders, that are listed to find an image by its name alone."""
ANNOTATION_FOLDERS = ("annotations", "annotation", "labels")
_ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+:/")
_DRIVE = re.compile(r"^[a-zA-Z]:/")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""Label Studio puts eight digits before the name of an uploaded file."""


@dataclass(frozen=True)
class LocatedImages:
    """Where the named images lie.

    Attributes:
        files: one path each, relative to the root, with forward slashes; a missing image's is where it should be.
        faults: of images that are missing or cannot be told apart.
        shortened: name and file of the images found by an ending of their name.
    """

    files: list[str]
    faults: list[Fault]
    shortened: dict[str, str]


def locate_images(
    names: Sequence[str], root: Path, folders: Sequence[str], *, without_suffix: bool = False, anywhere: bool = True
) -> LocatedImages:
    """Find images by the names that a file gives them.

    The folder is the first of those in which the most names are files. A name that is an address, a path of another
    machine, or any name where not one is a file as it stands, is shortened from the left until it is a file there, or
    the only such file anywhere below the root.

    Args:
        names: as the annotation file states them.
        root: the folder of the set.
        folders: where images may lie, relative to the root ("" is the root), the likeliest first.
        without_suffix: names may lack the suffix of the file, as in Open Images.
        anywhere: look in other folders below the root, too, where a name is shortened.
    """
    finder = _Finder(root, folders, without_suffix=without_suffix, anywhere=anywhere)
    plain = [_PlainName.of(name) for name in names]
    folder, whole = finder.best_folder(plain)
    files, shortened, missing = list[str](), dict[str, str](), dict[str, str]()
    for raw, name in zip(names, plain, strict=True):
        file = finder.exact(folder, name)
        if file is None:
            file = (
                finder.by_ending(name)
                if name.foreign or not whole
                else finder.converted(posixpath.join(folder, name.text))
            )
            if file is not None and raw not in shortened:
                shortened[raw] = file
        if file is None:
            file = _possible(posixpath.join(folder, name.text.lstrip("/") if name.foreign else name.text))
            missing[raw] = _reason(raw, name, finder)
        files.append(file)
    faults = [
        Fault("missing image", file, missing[raw]) for raw, file in zip(names, files, strict=True) if raw in missing
    ]
    return LocatedImages(files, [*faults, *_ambiguous(names, files)], shortened)


def set_folder(path: Path) -> Path:
    """The folder of a set: that which is named or that of the named file, but above `annotations/` and `labels/`."""
    folder = path if path.is_dir() else path.parent
    whole = Path(os.path.abspath(folder))  # noqa: PTH100  (resolve would follow links)
    if whole.name.lower() not in ANNOTATION_FOLDERS:
        return folder
    return folder.parent if folder.name == whole.name and folder.parent.name else whole.parent


def locate_beside(
    names: Sequence[str], root: Path, folders: Sequence[str], *, without_suffix: bool = False
) -> LocatedImages:
    """`locate_images`; where not one is there, in these folders beside the root: a json may lie in a folder of its own.

    Only for a file that was named itself: of a folder that was named, nothing outside it is the set's.
    """
    located = locate_images(names, root, folders, without_suffix=without_suffix)
    if not names or len({fault.file for fault in located.faults}) < len(set(located.files)):
        return located
    beside = [f"../{folder}" for folder in folders if folder not in {"", "."}]
    found = locate_images(names, root, beside, without_suffix=without_suffix, anywhere=False)
    return located if found.faults else found


def remark_on_names(located: LocatedImages) -> str:
    """A line on the images that were found by an ending of their name; "" where there are none."""
    if not located.shortened:
        return ""
    name, file = next(iter(located.shortened.items()))
    how = "the end of their path"
    if posixpath.splitext(name)[1].lower() in UNREAD_SUFFIXES - IMAGE_SUFFIXES:
        how += " or another suffix"
    return f"{len(located.shortened)} images found by {how}, such as {name[:100]!r} as {file}"


def _possible(name: str) -> str:
    """A path that the system can be asked for: parts of at most 200 characters, no zero bytes, no half characters."""
    text = name.replace("\0", "").encode(errors="backslashreplace").decode()
    return posixpath.normpath("/".join(part[:200] for part in text[:2000].split("/")))


def _ambiguous(names: Sequence[str], files: Sequence[str]) -> list[Fault]:
    """A fault for each file that two different names lead to."""
    first: dict[str, str] = {}
    return [
        Fault("duplicate id", file, f"{first[file][:100]!r} and {name[:100]!r} are both this file")
        for name, file in zip(names, files, strict=True)
        if _PlainName.of(first.setdefault(file, name)).text != _PlainName.of(name).text
    ]


def _reason(raw: str, name: _PlainName, finder: _Finder) -> str:
    if same := finder.candidates(name):
        return f"several files have the name of {raw[:100]!r}: {', '.join(same[:3])}"
    if name.address:
        return (
            f"{raw[:100]!r} is an address, which is never opened: put {name.text.rpartition('/')[2][:100]} into the set"
        )
    return "no such file"


@dataclass(frozen=True)
class _PlainName:
    """A name with forward slashes, without scheme, host and percent codes.

    Attributes:
        text: the path.
        address: it was an address, such as `http://`, `file://`, `gs://`.
        foreign: an address, or an absolute path: no path relative to the set.
    """

    text: str
    address: bool
    foreign: bool

    @classmethod
    def of(cls, name: str) -> _PlainName:
        text = name.strip().replace("\\", "/")
        query = text.partition("?d=")[2]
        if query and "local-files/" in text:
            return cls(unquote(query.partition("&")[0]), address=True, foreign=True)
        if _ADDRESS.match(text) and not _DRIVE.match(text):
            try:
                parts = urlsplit(text)
            except ValueError:
                return cls(text, address=True, foreign=True)
            of_query = parse_qs(parts.query, max_num_fields=100).get("d", [""])[0] if parts.query else ""
            return cls(of_query or unquote(parts.path), address=True, foreign=True)
        return cls(text, address=False, foreign=text.startswith("/") or bool(_DRIVE.match(text)))

    def endings(self) -> list[str]:
        """The path without its first 0, 1, 2 ... folders, the longest first; at most 50 of them."""
        parts = [part for part in self.text.split("/") if part not in {"", ".", ".."} and not part.endswith(":")]
        return ["/".join(parts[begin:]) for begin in range(max(0, len(parts) - 50), len(parts))]


class _Finder:
    """Looks files up in listings of folders: a hundred thousand names need no system call each."""

    def __init__(self, root: Path, folders: Sequence[str], *, without_suffix: bool, anywhere: bool) -> None:
        self._root = root
        self._without_suffix = without_suffix
        self._listed: dict[str, dict[str, str]] = {}
        self._everywhere: dict[str, list[str]] | None = None if anywhere else {}
        plain = ["" if folder in {"", "."} else posixpath.normpath(folder) for folder in folders]
        self._folders = [folder for folder in dict.fromkeys(plain) if (root / folder).is_dir()]
        self._first = next(iter(plain), "")

    def best_folder(self, names: Sequence[_PlainName]) -> tuple[str, bool]:
        """The folder in which the most names are files as they stand, and whether any is."""
        best, most = self._first, 0
        for folder in self._folders:
            count = sum(self.exact(folder, name) is not None for name in names)
            if count > most:
                best, most = folder, count
            if most == len(names):
                break
        return best, most > 0

    def exact(self, folder: str, name: _PlainName) -> str | None:
        """The file of this name in a folder, or the file with this absolute path."""
        if not name.foreign:
            return self._file(posixpath.normpath(posixpath.join(folder, name.text)))
        # `//host/share` would reach for the network on Windows
        if not name.address and not name.text.startswith("//") and os.path.isfile(name.text):  # noqa: PTH113
            try:
                return Path(os.path.relpath(name.text, self._root)).as_posix()
            except ValueError:  # another drive
                return name.text
        return None

    def by_ending(self, name: _PlainName) -> str | None:
        """The file that the longest ending of the name leads to in one of the folders, else the only one anywhere."""
        for ending in name.endings():
            for folder in self._folders:
                file = self._file(posixpath.join(folder, ending)) or self.converted(posixpath.join(folder, ending))
                if file is not None:
                    return file
        candidates = self.candidates(name)
        return candidates[0] if len(candidates) == 1 else None

    def converted(self, file: str) -> str | None:
        """The file that an image of a format that is not read here, `a.ppm`, was saved as: `a.png` beside it."""
        stem, suffix = posixpath.splitext(file)
        if suffix.lower() not in UNREAD_SUFFIXES - IMAGE_SUFFIXES:
            return None
        return next(filter(None, (self._file(stem + other) for other in sorted(IMAGE_SUFFIXES))), None)

    def candidates(self, name: _PlainName) -> list[str]:
        """All files below the root that have the longest ending of the name which any file has."""
        if self._everywhere is None:
            self._everywhere = self._walk()
        last = name.text.rpartition("/")[2]
        same = next((files for key in _keys(last) if (files := self._everywhere.get(key))), [])
        for ending in name.endings():
            if fitting := [file for file in same if f"/{file}".endswith(f"/{ending}")]:
                return fitting
        return same

    def _walk(self) -> dict[str, list[str]]:
        """Every image below the root by its name; none where there are too many files."""
        files: dict[str, list[str]] = {}
        count = 0
        for folder, inside, names in os.walk(self._root):
            relative = Path(os.path.relpath(folder, self._root)).as_posix()
            inside[:] = sorted(inside) if relative.count("/") < DEEPEST - 1 else []
            count += len(names)
            if count > MOST_FILES:
                return {}
            for name in sorted(filter(is_image, names)):
                for key in {name, *([Path(name).stem] if self._without_suffix else [])}:
                    files.setdefault(key, []).append(posixpath.normpath(f"{relative}/{name}"))
        return files

    def _file(self, path: str) -> str | None:
        folder, _, last = path.rpartition("/")
        names = self._names(folder)
        name = next((names[key] for key in _keys(last) if key in names), None)
        return None if name is None else posixpath.join(folder, name)

    def _names(self, folder: str) -> dict[str, str]:
        """The files of a folder: their names by themselves, in small letters, and where allowed without the suffix."""
        if folder not in self._listed:
            try:
                with os.scandir(self._root / folder) as entries:
                    names = sorted(entry.name for entry in entries if not entry.is_dir())
            except (OSError, ValueError):
                names = []
            by_stem = {Path(name).stem: name for name in names if is_image(name)} if self._without_suffix else {}
            in_small = {name.lower(): name for name in names}
            self._listed[folder] = in_small | by_stem | {name: name for name in names}
        return self._listed[folder]


def _keys(last: str) -> tuple[str, ...]:
    """How the last part of a name may stand on the disk: decoded, without an upload's digits, in small letters."""
    decoded = unquote(last) if "%" in last else last
    return tuple(dict.fromkeys((last, decoded, _UPLOAD.sub("", last), last.lower())))
