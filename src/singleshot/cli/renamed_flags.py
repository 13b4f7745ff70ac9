"""Flags under another name: those of earlier versions, and those that other detectors have for the same thing.

Each still works, and a line on stderr says what it is called here.
"""

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

SIZE = {"--imgsz": "--input-size", "--img-size": "--input-size", "--image-size": "--input-size"}
WEIGHTS = {"--weights": "--model", "--ckpt": "--model", "--checkpoint": "--model"}
SCORE = {"--conf": "--score", "--conf-thres": "--score", "--confidence": "--score", "--threshold": "--score"}
OUT = {"--output": "--out", "--output-dir": "--out", "--project": "--out"}
DATA = {"--data": "", "--dataset": ""}
FREEZE = "--backbone-lr-factor 0"
FOREIGN: dict[str, dict[str, str]] = {
    "boxes": {**DATA, **SIZE},
    "detect": {"--source": "", "--input": "", **OUT, **SCORE, **WEIGHTS},
    "evaluate": {**DATA, **WEIGHTS},
    "track": {"--source": "", **SCORE, **WEIGHTS},
    "train": {
        **DATA, **SIZE, **OUT, **WEIGHTS, "--freeze": FREEZE, "--freeze-backbone": FREEZE,
        "--lr": "--learning-rate", "--lr0": "--learning-rate", "--batch": "--batch-size", "--max-steps": "--iterations",
        "--num-epochs": "--epochs", "--num-workers": "--workers",
    },
}  # fmt: skip
"""Verb to a flag of other programs to ours; to nothing where its value is an argument without a flag."""


def with_new_names(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line under today's flags, and a line on each that was translated.

    >>> with_new_names(["train", "DATA", "--clip-norm=10"])
    (['train', 'DATA', '--grad-clip-norm=10'], ['--clip-norm is now called --grad-clip-norm'])
    >>> with_new_names(["train", "--data", "DATA", "--freeze"])[0]
    ['train', 'DATA', '--backbone-lr-factor', '0']
    """
    verbs = [" ".join(arguments[:words]) for words in (1, 2)]
    renamed = {old: new for verb in verbs for old, new in RENAMED.get(verb, {}).items()}
    foreign = {old: new for verb in verbs for old, new in FOREIGN.get(verb, {}).items()}
    translated: list[str] = []
    notes = []
    for place, argument in enumerate(arguments):
        flag, sign, value = argument.partition("=")
        if flag in renamed:
            notes.append(f"{flag} is now called {renamed[flag]}")
            translated.append(renamed[flag] + sign + value)
        elif flag not in foreign:
            if not (argument.isdecimal() and foreign.get(arguments[place - 1]) == FREEZE):  # how many layers to freeze
                translated.append(argument)
        elif not foreign[flag]:
            notes.append(f"{flag} is not needed: what it names goes without a flag")
            translated += [value] * bool(sign)
        elif foreign[flag] == FREEZE:
            notes.append(f"{flag} is called {FREEZE} here: the whole backbone keeps its weights")
            translated += FREEZE.split()
        else:
            notes.append(f"{flag} is called {foreign[flag]} here")
            translated.append(foreign[flag] + sign + value)
    return translated, notes
