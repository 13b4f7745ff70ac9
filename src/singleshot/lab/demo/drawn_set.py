"""A data set that draws itself: the same images and boxes for the same seed, in a VOC folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np
from PIL import Image

from singleshot.data.voc_layout import ANNOTATIONS, IMAGES, LISTS
from singleshot.lab.demo.scene import Scene, draw_scene
from singleshot.photographs import BEHIND_TEST, BEHIND_TRAINING, Photograph

JPEG_QUALITY = 90
THREADS = 2
EMPTY_EVERY = 16
"""One image in so many is a background alone."""


@dataclass(frozen=True)
class Split:
    """One list of images: how many, and the photographs behind them."""

    images: int
    behind: tuple[Photograph, ...]


SPLITS_DRAWN: Mapping[str, Split] = {
    "train": Split(160, BEHIND_TRAINING),
    "val": Split(32, BEHIND_TRAINING),
    "test": Split(64, BEHIND_TEST),
}


def draw_set(root: Path, *, seed: int = 0, splits: Mapping[str, Split] = SPLITS_DRAWN) -> None:
    """Draw every split into a VOC folder.

    Each image has its own random stream, of the seed, its split and its number: an image stays the same when
    another number of images is drawn.

    Args:
        root: the folder; made if need be, files of the same name are replaced.
        seed: of everything random.
        splits: name -> images.
    """
    for folder in (ANNOTATIONS, IMAGES, LISTS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stream, (name, split) in enumerate(splits.items()):
        photographs = [photograph.pixels() for photograph in split.behind]
        identities = [f"{name}_{number:04d}" for number in range(split.images)]

        def draw(
            number: int,
            stream: int = stream,
            photographs: Sequence[np.ndarray] = photographs,
            identities: Sequence[str] = identities,
        ) -> None:
            generator = np.random.default_rng([seed, stream, number])
            objects = number % EMPTY_EVERY != EMPTY_EVERY - 1
            _write(root, identities[number], draw_scene(photographs, generator, objects=objects))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(draw, range(split.images)))
        (root / LISTS / f"{name}.txt").write_text("".join(f"{identity}\n" for identity in identities), encoding="utf-8")


def _write(root: Path, identity: str, scene: Scene) -> None:
    """The image and its annotation."""
    Image.fromarray(scene.image).save(root / IMAGES / f"{identity}.jpg", quality=JPEG_QUALITY)
    height, width = scene.image.shape[:2]
    annotation = Element("annotation")
    SubElement(annotation, "filename").text = f"{identity}.jpg"
    size = SubElement(annotation, "size")
    for key, value in (("width", width), ("height", height), ("depth", 3)):
        SubElement(size, key).text = str(value)
    for name, (left, top, right, bottom) in zip(scene.names, scene.boxes_xyxy, strict=True):
        item = SubElement(annotation, "object")
        SubElement(item, "name").text = name
        SubElement(item, "difficult").text = "0"
        box = SubElement(item, "bndbox")
        # VOC names the first and the last pixel, counted from 1.
        for key, value in (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom)):
            SubElement(box, key).text = str(value)
    indent(annotation)
    ElementTree(annotation).write(root / ANNOTATIONS / f"{identity}.xml", encoding="utf-8")
