"""One drawn image: objects with shadows on a piece of a real photograph, and their exact boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from singleshot.boxes import area, intersection
from singleshot.lab.demo.objects import OBJECTS, Sprite
from singleshot.shapes import Float32, Int64, UInt8

WIDTH, HEIGHT = 400, 300
SMALL, MIDDLE, LARGE = (18.0, 33.0), (40.0, 90.0), (105.0, 220.0)
"""Sizes of objects in pixels; a box is smaller where the object is slim."""
VISIBLE = 0.5
"""Opacity from which a pixel belongs to an object's box."""
MOST_HIDDEN = 0.15
"""Share of a box that another box may cover."""
TRIES = 30


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and what was drawn into it.

    Attributes:
        image: RGB pixels.
        boxes_xyxy: edges of the objects' pixels (left and top of the first, right and bottom of the last pixel).
        names: class of each object.
    """

    image: UInt8[np.ndarray, "H W 3"]
    boxes_xyxy: Int64[np.ndarray, "R 4"]
    names: tuple[str, ...]


def draw_scene(
    photographs: Sequence[UInt8[np.ndarray, "h w 3"]], generator: np.random.Generator, *, objects: bool = True
) -> Scene:
    """Draw a scene in front of a piece of one of the photographs; without `objects`, the background alone."""
    image = _background(photographs[int(generator.integers(len(photographs)))], generator)
    light = np.array([generator.uniform(-0.7, 0.7), generator.uniform(-0.8, -0.2), 0.65], np.float32)
    light /= np.linalg.norm(light)
    boxes, names = np.zeros((0, 4), np.int64), list[str]()
    for size in _sizes(generator) if objects else ():
        name = list(OBJECTS)[generator.integers(len(OBJECTS))]
        sprite = OBJECTS[name](size, light, generator)
        place = free_place(sprite, boxes, generator)
        if place is None:
            continue
        left, top, box = place
        _shadow(image, sprite, left, top, light, size)
        blend(image, sprite, left, top)
        boxes, names = np.concatenate([boxes, box[None]]), [*names, name]
    return Scene(_photographed(image, generator), boxes, tuple(names))


def visible_box(sprite: Sprite) -> Int64[np.ndarray, " 4"]:
    """The edges of a sprite's visible pixels, in the sprite."""
    seen = sprite.opacity >= VISIBLE
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _sizes(generator: np.random.Generator) -> list[float]:
    """Sizes of a scene's objects, the largest first, so that small ones lie in front."""
    counts = (generator.integers(2, 6), generator.integers(0, 3), generator.choice([0, 1, 1, 2]))
    sizes = [
        float(np.exp(generator.uniform(*np.log(span))))
        for span, count in zip((SMALL, MIDDLE, LARGE), counts, strict=True)
        for _ in range(count)
    ]
    return sorted(sizes, reverse=True)


def _background(photograph: UInt8[np.ndarray, "h w 3"], generator: np.random.Generator) -> Float32[np.ndarray, "H W 3"]:
    """A random piece of a photograph, mirrored, blurred and its colours changed a little; 0..1."""
    height, width = photograph.shape[:2]
    share = generator.uniform(0.5, 1.0)
    piece_width = int(share * min(width, height * WIDTH / HEIGHT))
    piece_height = int(piece_width * HEIGHT / WIDTH)
    left, top = generator.integers(width - piece_width + 1), generator.integers(height - piece_height + 1)
    piece = photograph[top : top + piece_height, left : left + piece_width]
    if generator.uniform() < 0.5:
        piece = piece[:, ::-1]
    image = cv2.resize(np.ascontiguousarray(piece), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.3, 1.6)) / 255
    gain = generator.uniform(0.75, 1.15) * generator.uniform(0.92, 1.08, 3)
    lit: Float32[np.ndarray, "H W 3"] = np.clip(image * gain, 0, 1).astype(np.float32)
    return lit


def free_place(
    sprite: Sprite, boxes: Int64[np.ndarray, "R 4"], generator: np.random.Generator
) -> tuple[int, int, Int64[np.ndarray, " 4"]] | None:
    """Where the sprite's visible pixels are inside the image and no box hides much of another; None if not found."""
    inner = visible_box(sprite)
    for _ in range(TRIES):
        left = int(generator.integers(-inner[0], WIDTH - inner[2] + 1))
        top = int(generator.integers(-inner[1], HEIGHT - inner[3] + 1))
        box = inner + np.array([left, top, left, top])
        hidden = intersection(box, boxes) / np.minimum(area(box), area(boxes))
        if not (hidden > MOST_HIDDEN).any():
            return left, top, box
    return None


def blend(image: Float32[np.ndarray, "H W 3"], sprite: Sprite, left: int, top: int) -> None:
    """Lay the sprite over the image; what hangs over the edge is cut."""
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(WIDTH, left + sprite.opacity.shape[1]), min(HEIGHT, top + sprite.opacity.shape[0])
    cut = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    under = image[y0:y1, x0:x1]
    under *= 1 - sprite.opacity[cut][..., None]
    under += sprite.colour[cut]


def _shadow(
    image: Float32[np.ndarray, "H W 3"],
    sprite: Sprite,
    left: int,
    top: int,
    light: Float32[np.ndarray, " 3"],
    size: float,
) -> None:
    """Darken the ground on the side away from the light."""
    blur = max(0.6, 0.05 * size)
    pad = int(3 * blur) + 1
    mask = cv2.GaussianBlur(np.pad(0.5 * sprite.opacity, pad), (0, 0), blur)
    dark = Sprite(np.zeros((*mask.shape, 3), np.float32), mask)
    move_x, move_y = np.round(-0.14 * size * light[:2]).astype(int)
    blend(image, dark, left + move_x - pad, top + move_y - pad)


def _photographed(image: Float32[np.ndarray, "H W 3"], generator: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """As a small camera sees it: a little blur, and noise."""
    if generator.uniform() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.4, 0.8))
    noise = generator.standard_normal(image.shape, dtype=np.float32) * np.float32(generator.uniform(0.5, 4))
    seen: UInt8[np.ndarray, "H W 3"] = np.clip(np.round(image * 255 + noise), 0, 255).astype(np.uint8)
    return seen
