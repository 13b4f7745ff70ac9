"""Read YOLO's `data.yaml`: the folders or lists of each split, and the class names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from singleshot.errors import DataError
from singleshot.files import read_list, read_regular

LIMIT_BYTES = 2**20
LIMIT_DEPTH = 20
SPLITS = ("train", "val", "test")
_OTHER_NAMES = {"val": ("valid", "validation")}
MOST_CLASSES = 100_000
MOST_KEY_POINTS = 1000


@dataclass(frozen=True)
class YoloYaml:
    """What a `data.yaml` says.

    Attributes:
        names: class names by number; empty: it has no `names`.
        class_count: `nc`; 0 where it has none.
        sources: the folders or lists of each split.
        pose_numbers: how many numbers of key points follow each box (`kpt_shape`).
        remarks: lines on what was guessed.
    """

    names: dict[int, str]
    class_count: int
    sources: dict[str, tuple[Path, ...]]
    pose_numbers: int
    remarks: tuple[str, ...]


def read_yaml(file: Path) -> YoloYaml:
    """Read and check a yaml.

    Raises:
        DataError: not YOLO's, or a split's folder or list does not exist (a missing test split is a remark).
    """
    content = _parse(file)
    base = file.parent / _path_text(file, "path", content.get("path") or "")
    if not base.is_dir():
        base = file.parent  # a path of the machine that wrote it
    names, count = _names(content.get("names"), file), _count(content.get("nc"), file)
    sources, remarks = dict[str, tuple[Path, ...]](), list[str]()
    for split in SPLITS:
        value = next((content[key] for key in (split, *_OTHER_NAMES.get(split, ())) if content.get(key)), None)
        if value is None:
            continue
        items = [_path_text(file, split, item) for item in (value if isinstance(value, list) else [value])]
        try:
            sources[split] = tuple(_source(file, base, item, remarks) for item in items)
        except DataError:
            if split != "test" or not sources:
                raise
            remarks.append(f"{file.name} names the split test at {items[0][:100]!r}, which is not there: left out")
    if names and count and count != len(names):
        remarks.append(f"{file.name}: nc is {count}, but there are {len(names)} names; the names count")
    return YoloYaml(names, count, sources, _pose_numbers(content.get("kpt_shape")), tuple(remarks))


class _PlainLoader(yaml.SafeLoader):
    """Reads numbers and null; other words stay text (`yes` is no truth value but a class).

    Refuses aliases, by which a few lines expand to gigabytes.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (as in yaml's own loaders)
        first: [(tag, words) for tag, words in resolvers if tag.rpartition(":")[2] in {"int", "null", "merge"}]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("aliases (*name) are not read")
        return super().compose_node(parent, index)


def _parse(file: Path) -> dict[Any, Any]:
    try:
        text = read_regular(file, LIMIT_BYTES).decode("utf-8-sig")
        if _depth(text) > LIMIT_DEPTH:
            raise DataError(f"{file}: nested too deep")
        content = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{file}: not yaml: {' '.join(str(error).split())[:200]}") from None
    keys = (*SPLITS, *_OTHER_NAMES["val"])
    if not isinstance(content, dict) or not any(content.get(key) for key in keys):
        raise DataError(f"{file}: expected YOLO's keys train, val, test and names")
    return content


def _depth(text: str) -> int:
    """How deep brackets nest at most; the yaml parser takes quadratic time over them."""
    steps = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[\[\]{}]", text))
    return max(accumulate(steps), default=0)


def _path_text(file: Path, key: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise DataError(f"{file}: {key} must be a path, got {str(value)[:60]!r}")
    return value


def _source(file: Path, base: Path, item: str, remarks: list[str]) -> Path:
    """The folder or list that a split names.

    Some exporters write `../train/images` for a folder beside the yaml, or the path on their own machine: then the
    longest ending of at least two parts counts that is there, and for a list its name alone.
    """
    text = item.replace("\\", "/")
    for path in (base / item, base / text, file.parent / text):
        if path.exists():
            return path
    parts = [part for part in PurePosixPath(text).parts if part not in {"..", "/"} and not part.endswith(":")]
    fewest = 1 if text.lower().endswith(".txt") else 2
    begins = range(max(0, len(parts) - 20), 1 if text.startswith("../") else len(parts) - fewest + 1)
    for ending in ("/".join(parts[begin:]) for begin in begins):
        for folder in (base, file.parent):
            if (folder / ending).exists():
                if not text.startswith("../"):
                    remarks.append(f"{file.name}: {item[:100]!r} is read as {ending}")
                return folder / ending
    raise DataError(f"{file}: {item!r} is neither a folder nor a list of images (looked beside {base})")


def _names(value: Any, file: Path) -> dict[int, str]:
    """Class names by number: of a list, of numbers with names, or of a file with a name a line."""
    if value is None:
        return {}
    if isinstance(value, str) and "\0" not in value and os.path.isfile(file.parent / value):  # noqa: PTH113
        value = read_list(file.parent / value)
    pairs = list(enumerate(value)) if isinstance(value, list) else _numbered(value) if isinstance(value, dict) else []
    if not pairs or not all(isinstance(number, int) and isinstance(name, (str, int)) for number, name in pairs):
        raise DataError(f"{file}: expected `names`, a list of class names or numbers with names")
    names = {number: str(name) for number, name in sorted(pairs)}
    if len(set(names.values())) != len(pairs):
        raise DataError(f"{file}: two classes have the same name, or one number")
    return names


def _numbered(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Pairs of number and name; a number may stand in quotes."""
    return [
        (int(key) if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 7 else key, name)
        for key, name in value.items()
    ]


def _count(value: Any, file: Path) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or not 0 < value <= MOST_CLASSES:
        raise DataError(f"{file}: `nc` must be the number of classes, got {str(value)[:40]!r}")
    return value


def _pose_numbers(value: Any) -> int:
    """Key points times the numbers of each, of `kpt_shape: [17, 3]`."""
    fits = isinstance(value, list) and len(value) == 2 and all(isinstance(item, int) for item in value)
    return value[0] * value[1] if fits and 0 < value[0] <= MOST_KEY_POINTS and value[1] in {2, 3} else 0
