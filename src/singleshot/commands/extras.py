"""Which optional packages are installed, by the extra that asks for them, as the package's own metadata says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([\w,-]+)\])?([^;]*)(?:;.*extra == ['\"]([\w-]+)['\"])?")
"""Name, extras, versions and the extra that asks for it, of a line such as `onnx>=1.19; extra == "export"`."""
CLAUSE = re.compile(r"(>=|<)\s*([\d.]+)")
FOR_DEVELOPERS = {"dev", "docs"}
PURPOSES = {
    "evaluate": "charts in reports: ssd evaluate --report, ssd analyze, ssd explain",
    "train": "ssd train; models that are not exported",
    "export": "ssd export; models in ONNX",
    "backbones": "backbones of timm under an SSD head",
    "heif": "HEIF images of phones",
    "parquet": "ssd detect --part that writes Parquet",
    "video": "ssd track and ssd detect that write videos",
    "serve": "ssd serve",
}
"""Extra -> what needs it."""


@dataclass(frozen=True)
class Extra:
    """An extra of the package.

    Attributes:
        name: `train`.
        purpose: what needs it; empty where this version does not know.
        missing: requirements that are not installed, or in another version, such as `torch>=2.11`.
    """

    name: str
    purpose: str
    missing: tuple[str, ...]

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'singleshot[{self.name}]'"


def read_extras(requirements: Sequence[str] | None = None) -> tuple[list[Extra], tuple[str, ...]]:
    """The extras, and what is missing of the packages that are always needed.

    Args:
        requirements: as the metadata of a package lists them; None: those of the installed package.
    """
    if requirements is None:
        requirements = metadata.requires("singleshot") or []
    by_extra: dict[str, list[tuple[str, str, str]]] = {}
    for line in requirements:
        parsed = REQUIREMENT.match(line)
        assert parsed, line
        name, included, versions, extra = parsed.groups(default="")
        by_extra.setdefault(extra, []).append((name, included, versions.strip()))

    def missing(extra: str) -> Iterable[str]:
        for name, included, versions in by_extra.get(extra, ()):
            if name == "singleshot":
                for other in included.split(","):
                    yield from missing(other)
            elif not _is_installed(name, versions):
                yield name + versions

    extras = [
        Extra(name, PURPOSES.get(name, ""), tuple(dict.fromkeys(missing(name))))
        for name in by_extra
        if name and name not in FOR_DEVELOPERS
    ]
    return extras, tuple(missing(""))


def _is_installed(name: str, versions: str) -> bool:
    """Whether a distribution is there in a version of `>=` and `<` clauses; other clauses are not judged."""
    try:
        installed = _numbers(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False
    bounds = [(sign, _numbers(bound)) for sign, bound in CLAUSE.findall(versions)]
    return all(installed >= bound if sign == ">=" else installed < bound for sign, bound in bounds)


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, `2.14.1+cu130` -> (2, 14, 1)."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()
