"""Flags that have a new name: the old one still works, and a line on stderr names the new one."""

from __future__ import annotations

from collections.abc import Sequence

RENAMED: dict[str, dict[str, str]] = {
    "analyze": {"--out": "--report"},
    "boxes": {"--out": "--report"},
    "explain": {"--out": "--report", "--picture": "--image"},
    "export": {"--most-lost": "--max-map-drop"},
    "train": {"--backbone-rate": "--backbone-lr-factor", "--clip-norm": "--grad-clip-norm"},
}
"""Verb to old flag to new flag; `data check` is a verb of two words."""


def with_new_names(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line under today's flags, and a line on each that was renamed.

    >>> with_new_names(["train", "DATA", "--clip-norm=10"])
    (['train', 'DATA', '--grad-clip-norm=10'], ['--clip-norm is now called --grad-clip-norm'])
    """
    renamed = {old: new for words in (1, 2) for old, new in RENAMED.get(" ".join(arguments[:words]), {}).items()}
    translated, notes = [], []
    for argument in arguments:
        flag, sign, value = argument.partition("=")
        if flag in renamed:
            notes.append(f"{flag} is now called {renamed[flag]}")
            argument = renamed[flag] + sign + value
        translated.append(argument)
    return translated, notes
