"""The four kinds of objects of the drawn set: ball, die, ladybird, leaf. Each differs in colour, pattern and pose."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from singleshot.shapes import Bool, Float, Float32

MARGIN = 1.15
"""The canvas covers [-MARGIN, MARGIN] both ways; objects keep to about [-1, 1]."""
_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates: a sixteenth of a pixel


@dataclass(frozen=True, eq=False)
class Sprite:
    """A drawn object: colour 0..1 already multiplied by the opacity 0..1."""

    colour: Float32[np.ndarray, "h w 3"]
    opacity: Float32[np.ndarray, "h w"]


class SpriteCanvas:
    """Draws at two to four times the final size; `finish` averages that away.

    Args:
        size: pixels that two units (-1 to 1) have in the finished sprite.
    """

    def __init__(self, size: float) -> None:
        self.factor = 4 if size < 50 else 2
        self.side = int(np.ceil(size * MARGIN))
        self.scale = self.side * self.factor / (2 * MARGIN)
        drawn = self.side * self.factor
        self.colour = np.zeros((drawn, drawn, 3), np.float32)
        self.opacity = np.zeros((drawn, drawn), np.float32)
        axis = ((np.arange(drawn, dtype=np.float32) + 0.5) / self.scale - MARGIN).astype(np.float32)
        self.x, self.y = np.meshgrid(axis, axis)

    def paint(self, where: Bool[np.ndarray, "D D"], colours: Float32[np.ndarray, "D D 3"]) -> None:
        """Cover pixels, each with its own colour."""
        np.copyto(self.colour, colours, where=where[..., None])
        self.opacity[where] = 1

    def fill(self, outline: Float[np.ndarray, "n 2"], colour: Float[np.ndarray, " 3"]) -> None:
        """Cover a polygon with one colour."""
        points = [self._fixed_point(outline)]
        cv2.fillPoly(self.colour, points, [float(channel) for channel in colour], shift=_FRACTION_BITS)
        cv2.fillPoly(self.opacity, points, 1.0, shift=_FRACTION_BITS)

    def stroke(self, points: Float[np.ndarray, "n 2"], width: float, colour: Float[np.ndarray, " 3"]) -> None:
        """Draw a line with round ends, `width` in units."""
        lines, thickness = [self._fixed_point(points)], max(1, round(width * self.scale))
        closed, line_type = False, cv2.LINE_8
        channels = [float(channel) for channel in colour]
        cv2.polylines(self.colour, lines, closed, channels, thickness, line_type, _FRACTION_BITS)
        cv2.polylines(self.opacity, lines, closed, 1.0, thickness, line_type, _FRACTION_BITS)

    def inside(self, outline: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "D D"]:
        """The pixels inside a polygon."""
        mask = np.zeros(self.opacity.shape, np.uint8)
        cv2.fillPoly(mask, [self._fixed_point(outline)], 1, shift=_FRACTION_BITS)
        return mask.view(bool)

    def finish(self) -> Sprite:
        """The sprite at its final size."""
        size = (self.side, self.side)
        colour = cv2.resize(self.colour * self.opacity[..., None], size, interpolation=cv2.INTER_AREA)
        return Sprite(np.clip(colour, 0, 1), cv2.resize(self.opacity, size, interpolation=cv2.INTER_AREA))

    def _fixed_point(self, points: Float[np.ndarray, "n 2"]) -> np.ndarray:
        pixels = (np.asarray(points) + MARGIN) * self.scale - 0.5
        return np.round(pixels * (1 << _FRACTION_BITS)).astype(np.int32)


def draw_ball(size: float, light: Float32[np.ndarray, " 3"], generator: np.random.Generator) -> Sprite:
    """A beach ball: a shaded sphere with coloured panels, turned any way.

    Args:
        size: diameter in pixels.
        light: unit vector from the object to the light (x right, y down, z to the viewer).
        generator: chooses colours and pose.
    """
    canvas = SpriteCanvas(size)
    radius_squared = canvas.x**2 + canvas.y**2
    normals = np.stack([canvas.x, canvas.y, np.sqrt(np.clip(1 - radius_squared, 0, 1))], axis=-1)
    around = normals @ _rotation(generator).astype(np.float32)
    panels = 6
    hue = generator.uniform()
    colours = np.array([_colour(hue + shift, 0.8, 0.9) for shift in generator.permutation([0.0, 0.33, 0.62])])
    palette = np.array([colours[panel // 2] if panel % 2 else (0.95, 0.94, 0.9) for panel in range(panels)], np.float32)
    longitude = np.arctan2(around[..., 1], around[..., 0]) / (2 * np.pi) % 1
    pattern = palette[np.minimum((longitude * panels).astype(int), panels - 1)]
    pattern[np.abs(around[..., 2]) > 0.93] = (0.95, 0.94, 0.9)
    canvas.paint(radius_squared <= 1, _lit(pattern, normals, light, shine=0.5))
    return canvas.finish()


def draw_die(size: float, light: Float32[np.ndarray, " 3"], generator: np.random.Generator) -> Sprite:
    """A die with rounded edges, seen from anywhere: three faces at most, pips in perspective-free projection."""
    canvas = SpriteCanvas(size)
    turn = _rotation(generator)
    dark = generator.uniform() < 0.35
    body = _colour(generator.uniform(), 0.75, 0.65) if dark else _colour(generator.uniform(0.08, 0.16), 0.1, 0.95)
    ink = np.array([0.96, 0.95, 0.92] if dark else [0.1, 0.09, 0.1])
    half, rounding = 0.6, 0.19
    for axis, value in _FACES:
        direction = np.roll(np.eye(3)[0], axis % 3) * (1 if axis < 3 else -1)
        normal = turn @ direction
        if normal[2] <= 0.02:
            continue
        first, second = turn @ np.roll(direction, 1), turn @ np.roll(direction, 2)
        brightness = 0.5 + 0.55 * max(0.0, float(normal @ light))
        corners = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * (half - rounding / 2)

        def place(
            points: np.ndarray, centre: np.ndarray = normal * half, u: np.ndarray = first, v: np.ndarray = second
        ) -> np.ndarray:
            return np.asarray((centre + points[:, :1] * u + points[:, 1:] * v)[:, :2])

        outline = place(corners)
        closed = np.concatenate([outline, outline[:1]])
        canvas.stroke(closed, rounding, np.clip(body * (brightness * 0.5 + 0.45), 0, 1))
        canvas.fill(outline, np.clip(body * brightness, 0, 1))
        for pip in _PIPS[value]:
            circle = np.array(pip) * 0.31 + 0.12 * _circle(24)
            canvas.fill(place(circle), ink * min(1.0, brightness + 0.2))
    return canvas.finish()


def draw_ladybird(size: float, light: Float32[np.ndarray, " 3"], generator: np.random.Generator) -> Sprite:
    """A ladybird from above: domed wing cases with a seam and spots, head, feelers and six legs."""
    canvas = SpriteCanvas(size)
    frame = _frame(generator)
    width, length = generator.uniform(0.6, 0.68), 0.76
    _draw_limbs(canvas, frame, width)
    canvas.fill((_circle(40) * (0.34, 0.27) + (0, -0.68)) @ frame, _BLACK)
    across, along = (canvas.x * column[0] + canvas.y * column[1] for column in frame.astype(np.float32))
    u, v = across / width, (along - 0.1) / length
    dome = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    normals = np.stack([canvas.x / width, canvas.y / width, dome + 0.25], axis=-1)
    normals /= np.sqrt((normals**2).sum(axis=-1, keepdims=True))
    pattern = np.empty((*u.shape, 3), np.float32)
    pattern[:] = _colour(generator.choice([0.0, 0.02, 0.06, 0.11]), 0.9, generator.uniform(0.75, 0.95))
    pattern[np.abs(across) < 0.025] = _BLACK
    for spot_along in _SPOTS[generator.integers(len(_SPOTS))]:
        spot_across, radius = generator.uniform(0.35, 0.6), generator.uniform(0.13, 0.19)
        pattern[(np.abs(u) - spot_across) ** 2 + (v - spot_along) ** 2 < radius**2] = _BLACK
    pattern[v < -0.62] = _BLACK
    for side in (-1, 1):
        pattern[(u - 0.42 * side) ** 2 + (v + 0.72) ** 2 < 0.015] = (0.95, 0.93, 0.88)
    canvas.paint(u**2 + v**2 <= 1, _lit(pattern, normals.astype(np.float32), light, shine=0.6))
    return canvas.finish()


def _draw_limbs(canvas: SpriteCanvas, frame: Float[np.ndarray, "2 2"], width: float) -> None:
    """Six legs and two feelers."""
    for side in (-1.0, 1.0):
        for start, reach in ((-0.35, -0.66), (0.0, 0.05), (0.35, 0.64)):
            knee = (side * (width + 0.1), start + 0.5 * (reach - start))
            leg = np.array([(0.3 * side, start), knee, (side * (width + 0.16), reach)])
            canvas.stroke(leg @ frame, 0.07, _BLACK)
        feeler = np.array([(0.1 * side, -0.8), (0.26 * side, -1.0)])
        canvas.stroke(feeler @ frame, 0.05, _BLACK)


def draw_leaf(size: float, light: Float32[np.ndarray, " 3"], generator: np.random.Generator) -> Sprite:
    """A bent leaf with a toothed edge, veins and a stalk, from spring green to autumn red."""
    canvas = SpriteCanvas(size)
    frame = _frame(generator)
    bend, width = generator.uniform(-0.22, 0.22), generator.uniform(0.45, 0.62)
    teeth, depth = generator.integers(7, 12), generator.uniform(0.0, 0.12)

    def place(along: np.ndarray, across: np.ndarray) -> np.ndarray:
        curved = across + bend * (1 - (2 * along - 1) ** 2) - bend / 2
        return np.asarray(np.stack([2 * along - 1, curved], axis=-1) @ frame)

    along = np.linspace(0.14, 1, 160)
    t = (along - 0.14) / 0.86
    half_width = width * np.sin(np.pi * t**0.75) ** 0.9 * (1 - depth * (t * teeth % 1))
    hue = generator.choice([0.03, 0.09, 0.14, 0.22, 0.27, 0.3]) + generator.normal(0, 0.01)
    base = _colour(hue, generator.uniform(0.6, 0.8), generator.uniform(0.45, 0.72))
    lean = float(light[:2] @ frame[1])
    mottle = 1 + 0.1 * np.sin(9 * canvas.x + 2 * generator.normal()) * np.sin(8 * canvas.y + 2 * generator.normal())
    for side in (1, -1):
        edge = np.concatenate([place(along, side * half_width), place(along[::-1], np.zeros_like(along))])
        shade = 0.92 + 0.22 * side * lean
        canvas.paint(canvas.inside(edge), np.clip(mottle[..., None] * base * shade, 0, 1).astype(np.float32))
    vein = np.clip(base * 1.2 + 0.05, 0, 1)
    for position in np.linspace(0.12, 0.8, 6):
        reach = width * np.sin(np.pi * position**0.75) ** 0.9 * 0.82
        ahead = np.array([position, min(1.0, position + 0.16)]) * 0.86 + 0.14
        for side in (1, -1):
            canvas.stroke(place(ahead, np.array([0, side * reach])), 0.022, vein)
    canvas.stroke(place(np.linspace(0, 0.97, 40), np.zeros(40)), 0.045, vein * 0.9)
    return canvas.finish()


Draw = Callable[[float, Float32[np.ndarray, " 3"], np.random.Generator], Sprite]

OBJECTS: dict[str, Draw] = {"ball": draw_ball, "die": draw_die, "ladybird": draw_ladybird, "leaf": draw_leaf}
"""Class name -> how it is drawn."""

_BLACK = np.array([0.07, 0.06, 0.07])
_SPOTS = ((0.0,), (-0.3, 0.4), (-0.35, 0.1, 0.55))  # rows of a ladybird's spots, along
_FACES = ((0, 1), (1, 2), (2, 3), (3, 6), (4, 5), (5, 4))  # opposite faces of a die sum to seven
_PIPS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    2: ((-1, -1), (1, 1)),
    3: ((-1, -1), (0, 0), (1, 1)),
    4: ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    5: ((-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1)),
    6: ((-1, -1), (-1, 0), (-1, 1), (1, -1), (1, 0), (1, 1)),
}


def _lit(
    pattern: Float[np.ndarray, "D D 3"],
    normals: Float32[np.ndarray, "D D 3"],
    light: Float32[np.ndarray, " 3"],
    *,
    shine: float,
) -> Float32[np.ndarray, "D D 3"]:
    """Lambert's diffuse light with a Phong highlight (the viewer is far along z)."""
    facing = np.clip(normals @ light, 0, 1)
    mirrored = 2 * facing * normals[..., 2] - light[2]
    highlight = np.clip(mirrored, 0, 1)
    for _ in range(4):  # to the power of 16
        highlight *= highlight
    lit: Float32[np.ndarray, "D D 3"] = pattern * (0.38 + 0.72 * facing)[..., None] + (shine * highlight)[..., None]
    np.minimum(lit, 1, out=lit)
    return lit


def _rotation(generator: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A rotation drawn evenly from all rotations: a normal matrix made orthogonal."""
    q, r = np.linalg.qr(generator.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def _frame(generator: np.random.Generator) -> Float[np.ndarray, "2 2"]:
    """Two perpendicular unit vectors, turned evenly: the directions across and along an object."""
    angle = generator.uniform(0, 2 * np.pi)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _circle(points: int) -> Float[np.ndarray, "n 2"]:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _colour(hue: float, saturation: float, value: float) -> Float[np.ndarray, " 3"]:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))
