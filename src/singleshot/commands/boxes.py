"""`ssd boxes`, behind the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from singleshot.commands.boxes_page import write_study
from singleshot.commands.boxes_study import Study, study
from singleshot.data.recognise import default_splits, join, open_data
from singleshot.decode import decode_image
from singleshot.errors import ImageError, RequestError
from singleshot.spec import OBJECT
from singleshot.train.initial import base_spec


def boxes_for(
    data: Sequence[str],
    *,
    model: str | None,
    split: str | None,
    input_size: str | None,
    most: int | None,
    latency: float | None,
    page: Path,
) -> Study:
    """Measure a detector's default boxes, design better ones, and write the page.

    Args:
        data: sets, joined.
        model: an architecture's name or a model folder; None is the default architecture.
        split: of each; None takes what training would learn from, so that no test image decides.
        input_size: `WxH` of the network input.
        most: default boxes there may be.
        latency: milliseconds that the network may take.
        page: where to write.

    Raises:
        RequestError, DataError: no such set, split, model or size, or a budget that nothing can be within.
    """
    if not data:
        raise RequestError("which data? Give a folder or file: ssd boxes DATA")
    sets = [open_data(path, split=split or default_splits(path).train) for path in data]
    annotations = join(sets)
    spec = base_spec(model, input_size)
    if spec.class_agnostic:
        annotations = annotations.as_one_class(OBJECT)
    spec = replace(spec, class_names=annotations.class_names)
    found = study(spec, annotations, most=most, latency=latency)
    remarks = [f"{len(annotations)} images, {len(annotations.labels)} objects", *found.remarks]
    index = int(np.argmax(np.diff(annotations.starts)))
    try:
        image = decode_image(annotations.path(index))
    except ImageError as error:
        image = None
        remarks.append(str(error))
    found = replace(found, remarks=tuple(remarks))
    names = ", ".join(str(path) for path in data)
    write_study(page, f"Default boxes of {spec.name} on {names}", found, image, annotations.ground_truth(index))
    return found
