"""How many objects a detector may find in an image: as many as the training images hold, and more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from singleshot.spec import ModelSpec
from singleshot.types import Annotations

ROOM = 2
"""Detections an image, for each object of the fullest training image: false positives take places, too."""


def with_room_for_objects(spec: ModelSpec, train_set: Annotations) -> tuple[ModelSpec, list[str]]:
    """The spec with limits of its detection output above what the fullest image holds, and a line where they changed.

    The authors' limits are 400 candidates a class before NMS and 200 detections an image after it
    (`Postprocess.top_k`, `keep_top_k`); an object beyond them is never found.
    """
    post = spec.postprocess
    most = int(np.diff(train_set.starts).max(initial=0))
    if not 0 <= post.keep_top_k < most:
        return spec, []
    kept = ROOM * most
    candidates = post.top_k if post.top_k < 0 else max(post.top_k, ROOM * kept)
    line = (
        f"detections an image {post.keep_top_k} -> {kept}, candidates a class {post.top_k} -> {candidates}, from the "
        f"data: an image holds {most} objects"
    )
    return replace(spec, postprocess=replace(post, keep_top_k=kept, top_k=candidates)), [line]
