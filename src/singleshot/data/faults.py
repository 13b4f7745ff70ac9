"""The kinds of faults of data sets, and what training does about each.

Readers collect faults and go on; `check` lists all of them; `open_data` refuses a set with a fault that stops training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from singleshot.errors import DataError

WAY_OUT = "mend it, or --leave-out-faulty goes on without such images (ssd train, ssd evaluate)"
SHOWN = 20  # faults of each kind; --json lists all

# Of boxes: `degenerate_boxes.py` is the rule.
CLIPPED = "training clips the box to the image"
DROPPED = "training drops the box"
FIRST_FRAME = "training takes the first frame"
NOTHING = "training goes on"
REFUSED = "training refuses to start"
MISSING = "missing image"
CONSEQUENCES = {
    "not finite": DROPPED,
    "inverted": DROPPED,
    "zero area": DROPPED,
    "outside": DROPPED,
    "partly outside": CLIPPED,
    "malformed": REFUSED,
    "unknown class": REFUSED,
    "duplicate id": REFUSED,
    "missing annotation": REFUSED,
    MISSING: REFUSED,
    "wrong size": REFUSED,
    "unreadable image": REFUSED,
    "no objects": REFUSED,
    "several frames": FIRST_FRAME,
    "duplicate image": NOTHING,
    "in two splits": NOTHING,
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where.

    Attributes:
        kind: a key of `CONSEQUENCES`.
        file: the image or annotation file, relative to the set's root.
        detail: expected and got, in a few words.
        number: which object of the image, from 1; 0 where the fault is the whole file's.
    """

    kind: str
    file: str
    detail: str
    number: int = 0

    @property
    def consequence(self) -> str:
        """What training does about it."""
        return CONSEQUENCES[self.kind]

    @property
    def stops_training(self) -> bool:
        """Training does not start with such a fault in the set."""
        return self.consequence == REFUSED

    def __str__(self) -> str:
        where = f"{self.file}, object {self.number}" if self.number else self.file
        return f"{where}: {self.detail}"


def refuse(faults: Sequence[Fault], *, where: str) -> None:
    """Raise where a fault stops training.

    Raises:
        DataError: naming the first `SHOWN` faults, one a line, and how many there are.
    """
    fatal = [fault for fault in faults if fault.stops_training]
    if not fatal:
        return
    if len(fatal) == 1:
        raise DataError(f"{where}: {fatal[0].kind}: {fatal[0]}; {WAY_OUT}")
    lines = [f"{where}: {len(fatal)} faults to mend before it can be used"]
    lines += [f"  {fault.kind}: {fault}" for fault in fatal[:SHOWN]]
    if len(fatal) > SHOWN:
        lines.append(f"  and {len(fatal) - SHOWN} more; `ssd data check` lists them all")
    lines.append(f"  {WAY_OUT}")
    raise DataError("\n".join(lines))
