"""Leave the images with faults out of a set, on request: `--leave-out-faulty`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from singleshot.data.fault_images import FaultImages
from singleshot.data.faults import Fault
from singleshot.errors import first_of
from singleshot.types import Annotations

NAMED = 10
"""Images that the remark names."""


class LeftOut(NamedTuple):
    """What is left of a set.

    Attributes:
        annotations: the images without faults.
        faults: those that stay, since they cannot be told to belong to an image.
        remarks: a line on what was left out; none where nothing was.
    """

    annotations: Annotations
    faults: list[Fault]
    remarks: list[str]


def without_faulty(annotations: Annotations, faults: Sequence[Fault], *, file_per_image: bool) -> LeftOut:
    """The set without the images that have a fault that stops training.

    A fault names the image, or its file of annotations, which has the image's name but for folder and suffix.

    Args:
        annotations: what could be read.
        faults: of any kind.
        file_per_image: each image has a file of annotations of its own: a fault that names no image of the set is then
            one of an image that was not read, which is left out by that.
    """
    images = FaultImages(annotations.files)
    dropped: set[int] = set()
    left_out: dict[str, str] = {}
    staying = []
    for fault in faults:
        if not fault.stops_training:
            staying.append(fault)
        elif (named := images.named(fault.file)) is not None:
            dropped.add(named)
            left_out.setdefault(fault.file, fault.kind)
        elif file_per_image:
            owners = images.labelled_by(fault.file)
            dropped.update(owners)
            for file in [annotations.files[index] for index in owners] if len(owners) > 1 else [fault.file]:
                left_out.setdefault(file, fault.kind)
        else:
            staying.append(fault)
    rest = annotations.subset([index for index in range(len(annotations)) if index not in dropped])
    return LeftOut(rest if dropped else annotations, staying, _remark(left_out))


def _remark(left_out: dict[str, str]) -> list[str]:
    if not left_out:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(left_out.values()).items())
    return [f"left out as asked: {len(left_out)} with faults ({kinds}): {first_of(list(left_out), NAMED)}"]
