"""A few photographs to show and to check things on; `ATTRIBUTION.md` says who took them and that all may be shared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.decode import decode_image
from singleshot.shapes import UInt8

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Photograph:
    """One photograph.

    Attributes:
        name: its file is `NAME.jpg`.
        subject: what can be seen.
        tint: factor on red, green and blue that gives a grey photograph the colour of its subject.
    """

    name: str
    subject: str
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return FOLDER / f"{self.name}.jpg"

    def pixels(self) -> UInt8[np.ndarray, "H W 3"]:
        """The tinted photograph."""
        tinted = decode_image(self.path) * np.array(self.tint, np.float32)
        pixels: UInt8[np.ndarray, "H W 3"] = np.clip(tinted, 0, 255).astype(np.uint8)
        return pixels


ASTRONAUT = Photograph("astronaut", "a person in a space suit")
BRICK = Photograph("brick", "a brick wall", tint=(1.25, 0.92, 0.78))
CAMERA = Photograph("camera", "a man with a camera")
CHELSEA = Photograph("chelsea", "a cat")
COFFEE = Photograph("coffee", "a cup of coffee on a wooden table")
GRASS = Photograph("grass", "grass", tint=(0.86, 1.12, 0.6))
GRAVEL = Photograph("gravel", "gravel", tint=(1.12, 1.02, 0.88))
ROCKET = Photograph("rocket", "a rocket at dusk")

PHOTOGRAPHS = (ASTRONAUT, BRICK, CAMERA, CHELSEA, COFFEE, GRASS, GRAVEL, ROCKET)
TO_DETECT = (CHELSEA, ASTRONAUT, CAMERA)
"""What the shipped model is shown: its classes are in them."""
BEHIND_TRAINING = (ASTRONAUT, BRICK, CHELSEA, GRAVEL, ROCKET)
"""Backgrounds of the drawn set's train and val images."""
BEHIND_TEST = (CAMERA, COFFEE, GRASS)
"""Backgrounds of its test images: none of them was behind a training image."""
