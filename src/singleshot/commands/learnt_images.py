"""Whether the images that a model is judged by are among those that it has learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from singleshot.data.image_hashes import hash_images
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.types import Annotations
from singleshot.weights.folder import ModelFolder

MANY = 10_000
"""Images from which on it is said that they are looked at: it takes some ten seconds."""
OnNote = Callable[[str], None]
NamedFolder = tuple[str, ModelFolder | None]
"""What the user calls a model, and its folder, where it came from one."""


def learnt_overlap(folder: ModelFolder | None, paths: Sequence[Path], *, on_note: OnNote) -> LearntOverlap | None:
    """How many of the images a model has learnt, told as notes. See `learnt_overlaps`."""
    return learnt_overlaps([("", folder)], paths, on_note=on_note)[0]


def learnt_overlaps(
    models: Sequence[NamedFolder], paths: Sequence[Path], *, on_note: OnNote
) -> list[LearntOverlap | None]:
    """How many of the images each model has learnt, told as notes.

    Args:
        models: of several, a note begins with the model's name.
        paths: the image files that they are judged by.
        on_note: called with a line for each kind of images that a model knows.

    Returns:
        None for a model whose folder does not say what it learnt.

    Raises:
        ModelError, HashError: a folder is not whole.
    """
    learnt = [None if folder is None else folder.learnt() for _, folder in models]
    if all(images is None for images in learnt):
        return [None] * len(learnt)
    if len(paths) >= MANY:
        on_note(f"looking whether the {len(paths):,} images were learnt")
    judged = hash_images(paths)
    overlaps = [None if images is None else images.overlap(judged) for images in learnt]
    for (name, _), overlap in zip(models, overlaps, strict=True):
        for line in () if overlap is None else overlap.lines():
            on_note(line if len(models) == 1 else f"{name}: {line}")
    return overlaps


def paths_of(annotations: Annotations) -> list[Path]:
    """The image files of a set."""
    return [annotations.path(index) for index in range(len(annotations))]
