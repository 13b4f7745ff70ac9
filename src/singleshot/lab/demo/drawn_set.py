"""A data set that draws itself: the same pictures and boxes for the same seed, in a VOC folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np
from PIL import Image

from singleshot.data.voc import ANNOTATIONS, PICTURES, SPLITS
from singleshot.lab.demo.scene import Scene, draw_scene
from singleshot.photographs import BEHIND_TEST, BEHIND_TRAINING, Photograph

JPEG_QUALITY = 90
THREADS = 2
EMPTY_EVERY = 16
"""One picture in so many is a background alone."""


@dataclass(frozen=True)
class Split:
    """One list of pictures: how many, and the photographs behind them."""

    pictures: int
    behind: tuple[Photograph, ...]


SPLITS_DRAWN: Mapping[str, Split] = {
    "train": Split(160, BEHIND_TRAINING),
    "val": Split(32, BEHIND_TRAINING),
    "test": Split(64, BEHIND_TEST),
}


def draw_set(root: Path, *, seed: int = 0, splits: Mapping[str, Split] = SPLITS_DRAWN) -> None:
    """Draw every split into a VOC folder.

    Each picture has its own random stream, of the seed, its split and its number: a picture stays the same when
    another number of pictures is drawn.

    Args:
        root: the folder; made if need be, files of the same name are replaced.
        seed: of everything random.
        splits: name -> pictures.
    """
    for folder in (ANNOTATIONS, PICTURES, SPLITS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stream, (name, split) in enumerate(splits.items()):
        photographs = [photograph.pixels() for photograph in split.behind]
        identities = [f"{name}_{number:04d}" for number in range(split.pictures)]

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
            list(pool.map(draw, range(split.pictures)))
        (root / SPLITS / f"{name}.txt").write_text("".join(f"{one}\n" for one in identities), encoding="utf-8")


def _write(root: Path, identity: str, scene: Scene) -> None:
    """The picture and its annotation."""
    Image.fromarray(scene.picture).save(root / PICTURES / f"{identity}.jpg", quality=JPEG_QUALITY)
    height, width = scene.picture.shape[:2]
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
