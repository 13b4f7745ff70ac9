"""Write docs/licences.md: the licence of every package that singleshot needs, by extra, and GPL codecs in wheels.

    python scripts/licences.py [--path FOLDER ...]

All is read from the metadata of what is installed; nothing is imported. A package that is not installed, here or in
one of the folders (as `pip install --target FOLDER --no-deps pillow-heif` makes them), is named as such.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
UNKNOWN = "not installed where this page was made"
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License v2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "Simplified BSD": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "New BSD": "BSD-3-Clause",
    "BSD License": "BSD",
    "BSD 3-Clause License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Other/Proprietary License": "proprietary",
    "Python Software Foundation License": "PSF-2.0",
    "PSFL": "PSF-2.0",
}
"""What packages write, and the identifier of https://spdx.org/licenses that is meant."""

GPL_LIBRARY = re.compile(
    r"(?:^|/)(?:lib)?(x264|x265|xvidcore|postproc|rubberband|vidstab|cdio|davs2|xavs2?)[-.\w]*\.(?:so|dll|dylib|pyd)\b",
    re.IGNORECASE | re.MULTILINE,
)
"""FFmpeg's external libraries under the GPL (its `configure`, EXTERNAL_LIBRARY_GPL_LIST), by the name of their file."""

BESIDE = ("trackers", "supervision", "pydeprecate")
"""What `make install` adds without its own needs."""

HEAD = """# Licences

singleshot is under Apache-2.0, and so is the model in the package. This page lists what it depends on, by extra; it is
made by `python scripts/licences.py` from the metadata of the packages themselves, and a test holds it to what is
installed. None of them is part of our wheel: pip fetches them from your index. It is no legal advice.
"""


class Installed:
    """The distributions of this interpreter and of further folders, by their canonical names."""

    def __init__(self, folders: Iterable[str] = ()) -> None:
        self._by_name: dict[str, Distribution] = {}
        for distribution in distributions(path=[*sys.path, *folders]):
            self._by_name.setdefault(canonicalize_name(distribution.metadata["Name"]), distribution)

    def get(self, name: str) -> Distribution | None:
        """The distribution of a canonical name, or nothing where it is not installed."""
        return self._by_name.get(name)

    def needs(self, requirements: Iterable[str], extra: str = "") -> set[str]:
        """Names of what the requirements ask for here, and what that asks for, and so on."""
        names, waiting = set[str](), [(text, extra) for text in requirements]
        seen = set[tuple[str, str]]()
        while waiting:
            text, for_extra = waiting.pop()
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": for_extra}):
                continue
            name = canonicalize_name(requirement.name)
            names.add(name)
            for asked in ("", *requirement.extras):
                if (name, asked) not in seen and (distribution := self.get(name)):
                    seen.add((name, asked))
                    waiting += [(need, asked) for need in distribution.requires or ()]
        return names


def licence(distribution: Distribution) -> str:
    """The licence that a distribution names: its expression, else its classifiers, else its text."""
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in metadata.get_all("Classifier") or () if text.startswith("License ::")]
    written = (metadata.get("License") or "").strip()
    named = {text.rsplit(" :: ", 1)[-1] for text in classifiers} - {"OSI Approved", "DFSG approved"}
    named = {SPDX.get(name, name) for name in named or {written or "none named"}}
    return " AND ".join(sorted(bsd(written, distribution) if needs_text(name) else name for name in named))


def needs_text(name: str) -> bool:
    """Whether a name leaves open which licence of BSD's it is, or is a whole text."""
    return name == "BSD" or len(name) > 60 or "\n" in name


def bsd(written: str, distribution: Distribution) -> str:
    """Which licence of BSD's a text is, in the metadata or in the files beside them."""
    files = [file for file in distribution.files or () if re.match(r"(?i)licen[cs]e|copying", file.name)]
    texts = [written, *(Path(str(file.locate())).read_text(encoding="utf-8", errors="replace") for file in files)]
    for text in texts:
        if "Redistribution" in text:
            three = re.search(r"(?i)neither\s+the\s+names?|may\s+not\s+be\s+used\s+to\s+endorse", text)
            return "BSD-3-Clause" if three else "BSD-2-Clause"
    return "BSD, which is not said"


def gpl_libraries(distribution: Distribution) -> set[str]:
    """Names of the GPL libraries among the files of a distribution."""
    return {name.lower() for name in GPL_LIBRARY.findall(distribution.read_text("RECORD") or "")}


def by_extra(project: Mapping[str, object], installed: Installed) -> dict[str, set[str]]:
    """Extra ("" is the core) -> names of the packages that it adds to the core and to the extras that it includes."""
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    own = {"": project["dependencies"], **optional}
    direct, included = dict[str, list[str]](), dict[str, set[str]]()
    for extra, requirements in own.items():
        parsed = [(text, Requirement(text)) for text in requirements]
        direct[extra] = [text for text, requirement in parsed if requirement.name != "singleshot"]
        included[extra] = set[str]().union(*(need.extras for _, need in parsed if need.name == "singleshot"))
    every = {extra: installed.needs(requirements) for extra, requirements in direct.items()}

    def below(extra: str) -> set[str]:
        return {name for base in included[extra] for name in every[base] | below(base)}

    return {extra: names - below(extra) - (every[""] if extra else set()) for extra, names in every.items()}


def table(names: Iterable[str], installed: Installed) -> list[str]:
    """Rows of licence and packages."""
    packages = defaultdict[str, list[str]](list)
    for name in sorted(names):
        distribution = installed.get(name)
        packages[licence(distribution) if distribution else UNKNOWN].append(name)
    rows = [f"| {key} | {', '.join(packages[key])} |" for key in sorted(packages, key=str.lower)]
    return ["| licence | packages |", "|---|---|", *rows]


def page(installed: Installed) -> str:
    """The whole page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = by_extra(project, installed)
    codecs = list[str]()
    for name in sorted(set[str]().union(*extras.values())):
        distribution = installed.get(name)
        if distribution and (libraries := gpl_libraries(distribution)):
            where = ", ".join(f"`[{extra}]`" if extra else "the core" for extra in extras if name in extras[extra])
            codecs.append(f"| {name} | {where} | {', '.join(sorted(libraries))} |")
    lines = [HEAD, "## GPL codecs", ""]
    lines += [
        "These wheels hold codecs under the GPL, whatever their own licence says. They are extras, and no extra but",
        "`[dev]` includes them. Who passes on an image or an installer that holds such a wheel passes on GPL software.",
        "",
        "| package | of | GPL libraries in its wheel |",
        "|---|---|---|",
        *codecs,
        "",
        "OpenCV's wheel, in the core, holds an FFmpeg that is built under the LGPL 2.1, without these.",
    ]
    for extra, names in extras.items():
        lines += ["", f"## `[{extra}]` adds" if extra else "## The core", "", *table(names, installed)]
    lines += ["", "## `make install` adds to `[dev]`", "", *table(BESIDE, installed)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--path", nargs="*", default=[], help="further folders with installed packages")
    PAGE.write_text(page(Installed(parser.parse_args().path)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
