"""Ground-truth boxes relative to a part of the image: Caffe bbox_util.cpp and im_transforms.cpp, in float32.

A `frame` is a box, in fractions of the image, that becomes the new image: a crop inside it, or a canvas around it.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from singleshot.boxes import area, flip_horizontally, intersection
from singleshot.shapes import Bool, Float32, UInt8
from singleshot.types import Sample


def project(
    boxes_xyxy: Float32[np.ndarray, "*n 4"], frame_xyxy: Float32[np.ndarray, "*n 4"]
) -> tuple[Float32[np.ndarray, "*n 4"], Bool[np.ndarray, "*n"]]:
    """Boxes in fractions of the frame, clipped to it, and which of them are left (ProjectBBox).

    A box that only touches the frame, or has no area after clipping, is not.
    """
    corners = boxes_xyxy.reshape(*boxes_xyxy.shape[:-1], 2, 2)
    origin, size = frame_xyxy[..., None, :2], frame_xyxy[..., None, 2:] - frame_xyxy[..., None, :2]
    with np.errstate(divide="ignore", invalid="ignore"):  # Caffe divides by a frame without area, too
        projected = ((corners - origin) / size).clip(0, 1)
    projected = projected.reshape(*projected.shape[:-2], 4)
    apart = (boxes_xyxy[..., :2] >= frame_xyxy[..., 2:]) | (boxes_xyxy[..., 2:] <= frame_xyxy[..., :2])
    return projected, ~apart.any(axis=-1) & (area(projected) > 0)


def coverage(
    boxes_xyxy: Float32[np.ndarray, "*n 4"], others_xyxy: Float32[np.ndarray, "*n 4"]
) -> Float32[np.ndarray, "*n"]:
    """Share of each box's area that the other box covers (BBoxCoverage)."""
    common = intersection(boxes_xyxy, others_xyxy)
    return np.where(common > 0, common / np.maximum(area(boxes_xyxy), np.float32(1e-30)), np.float32(0))


def holds_centre(
    frame_xyxy: Float32[np.ndarray, "*n 4"], boxes_xyxy: Float32[np.ndarray, "*n 4"]
) -> Bool[np.ndarray, "*n"]:
    """Whether each box's centre lies in the frame, its borders included (MeetEmitConstraint, CENTER)."""
    centre = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2
    inside = (centre >= frame_xyxy[..., :2]) & (centre <= frame_xyxy[..., 2:])
    return np.asarray(inside.all(axis=-1))


def covers(
    frame_xyxy: Float32[np.ndarray, "*n 4"], boxes_xyxy: Float32[np.ndarray, "*n 4"], *, least: float
) -> Bool[np.ndarray, "*n"]:
    """Whether the frame covers more than `least` of each box (MeetEmitConstraint, MIN_OVERLAP)."""
    return np.asarray(coverage(boxes_xyxy, frame_xyxy) > least)


def mirror(sample: Sample) -> Sample:
    """Left becomes right."""
    return replace(sample, image=cv2.flip(sample.image, 1), boxes_xyxy=flip_horizontally(sample.boxes_xyxy, width=1))


CODES = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def resize(
    image: UInt8[np.ndarray, "H W 3"], size_hw: tuple[int, int], interpolation: str
) -> UInt8[np.ndarray, "h w 3"]:
    """The image at this height and width."""
    return np.asarray(cv2.resize(image, size_hw[::-1], interpolation=CODES[interpolation]))
