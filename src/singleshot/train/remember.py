"""The hashes of a run's images, which its model folders keep: so that an evaluation on them can say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from singleshot.data.image_hashes import HASHES, ImageHashes, hash_images
from singleshot.train.plan import Plan
from singleshot.weights.learnt import EMPTY, LearntImages

CHUNK = 512
"""Images that each process hashes between two exchanges: none waits long for another."""


def images_to_remember(
    plan: Plan, *, on_image: Callable[[int, int], None] = lambda _done, _total: None
) -> LearntImages | None:
    """The hashes of the images that a run trains and validates on, and of those that its start has learnt.

    Several processes hash a share each, of the images that their machine holds; the first one, which writes the models,
    has all of them in the end.

    Args:
        plan: of the run.
        on_image: called with the number of images done, and of all, as this process sees them.

    Returns:
        None for a run that shall not remember them.

    Raises:
        RankLostError: another process was lost.
    """
    options = plan.options
    if options.forget_images:
        return None
    own = _own_images(plan)
    total = len(own) + (0 if plan.val_set is None else len(plan.val_set))
    trained = _hash_training_images(plan, own, lambda done: on_image(done, total))
    validated = EMPTY

    def hash_validation_images(alive: Callable[[], None]) -> None:
        nonlocal validated

        def on_done(done: int) -> None:
            alive()
            on_image(len(own) + done, total)

        if plan.val_set is not None:
            validated = hash_images([plan.val_set.path(i) for i in range(len(plan.val_set))], on_image=on_done)

    plan.ranks.on_rank_zero(hash_validation_images)
    names = {"trained": _name(plan.data, options.train_split), "validated": _name(plan.data, options.val_split)}
    return LearntImages(trained, validated, names=names).starting_from(plan.start_learnt)


def _own_images(plan: Plan) -> np.ndarray:
    """The training images that this process hashes: a share of those that its machine holds."""
    shard = plan.shard
    return np.arange(shard.part, len(plan.train_set), shard.parts)[shard.rank :: shard.world]


def _hash_training_images(plan: Plan, own: np.ndarray, on_image: Callable[[int], None]) -> ImageHashes:
    """Of all processes' images, in chunks; a last, shorter chunk is filled up with rows that are no image's."""
    shard = plan.shard
    most = math.ceil(math.ceil(len(plan.train_set) / shard.parts) / shard.world)
    parts = []
    for start in range(0, most, CHUNK):
        paths = [plan.train_set.path(int(image)) for image in own[start : start + CHUNK]]
        hashes = hash_images(paths, on_image=lambda done, start=start: on_image(start + done))  # type: ignore[misc]
        rows = np.zeros((min(CHUNK, most - start), len(HASHES)), np.uint64)
        rows[: len(paths)] = np.stack([getattr(hashes, name) for name in HASHES], axis=1)
        gathered = plan.ranks.gather(torch.from_numpy(rows.view(np.int64)).to(plan.device))
        parts.append(ImageHashes(*gathered.cpu().numpy().view(np.uint64).T.copy()))
    return ImageHashes.concatenate(parts)


def _name(data: Sequence[str], split: str | None) -> str:
    """The sets for people, without the folders that they lie in."""
    names = ", ".join(dict.fromkeys(Path(path).resolve().name for path in data))
    return f"{names}, split {split}" if split else names
