"""`ssd boxes`, behind the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from singleshot.data.recognise import default_splits, join, open_data
from singleshot.decode import decode_picture
from singleshot.design.page import write_tilings
from singleshot.design.tiling import designed, measured
from singleshot.errors import PictureError, RequestError
from singleshot.spec import OBJECT
from singleshot.train.initial import base_spec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from singleshot.design.tiling import Tiling


def boxes_for(
    data: Sequence[str], *, model: str | None, split: str | None, input_size: str | None, most: int | None, page: Path
) -> tuple[list[Tiling], list[str]]:
    """Measure a detector's default boxes, design better ones, and write the page.

    Args:
        data: sets, joined.
        model: an architecture's name or a model folder; None is the default architecture.
        split: of each; None takes what training would learn from, so that no test picture decides.
        input_size: `WxH` of the network input.
        most: default boxes there may be.
        page: where to write.

    Returns:
        The tiling as it is and, where a better one was found, that; and lines for people.

    Raises:
        RequestError, DataError: no such set, split, model or size.
    """
    if not data:
        raise RequestError("which data? Give a folder or file: ssd boxes DATA")
    sets = [open_data(path, split=split or default_splits(path).train) for path in data]
    annotations = join(sets)
    spec = base_spec(model, input_size)
    if spec.class_agnostic:
        annotations = annotations.as_one_class(OBJECT)
    spec = replace(spec, class_names=annotations.class_names)
    tilings = [measured(spec, annotations)]
    found, reason = designed(spec, annotations, most=most)
    tilings += [] if found is None else [found]
    remarks = [f"{len(annotations)} pictures, {len(annotations.labels)} objects", reason]
    index = int(np.argmax(np.diff(annotations.starts)))
    try:
        picture = decode_picture(annotations.path(index))
    except PictureError as error:
        picture = None
        remarks.append(str(error))
    names = ", ".join(str(path) for path in data)
    truths = annotations.truths(index)
    write_tilings(page, f"Default boxes of {spec.name} on {names}", tilings, remarks, picture, truths)
    return tilings, remarks
