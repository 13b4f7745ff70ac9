"""Boxes to offsets from their default boxes and back (eq. 2), for numpy arrays and torch tensors.

Law: `decode(encode(b, d), d)` equals b for boxes b and default boxes d that have an area. Boxes are xyxy in one unit
(here fractions of the image). Leading axes broadcast: (B, K, 4) offsets go with (K, 4) default boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

from singleshot.boxes import Array, clip_boxes, cxcywh_to_xyxy, namespace, xyxy_to_cxcywh
from singleshot.errors import UnknownNameError
from singleshot.shapes import Float

Code: TypeAlias = Literal["center_size", "corner", "corner_size"]
"""Caffe's CodeType. `center_size` is the paper's; `corner` takes plain differences of the corners; `corner_size`
divides them by width and height of the default box."""


def encode(
    boxes_xyxy: Float[Array, "*n 4"],
    default_boxes_xyxy: Float[Array, "*n 4"],
    variances: Sequence[float] | Float[Array, "*n 4"],
    *,
    code: Code = "center_size",
    variance_in_target: bool = False,
) -> Float[Array, "*n 4"]:
    """Offsets that the network is trained to predict (Caffe bbox_util.cpp, EncodeBBox).

    Eq. 2, Liu et al. 2016, with the variances v that its code divides by; box g, default box d, centre (cx, cy),
    size (w, h): (g_cx - d_cx) / d_w / v_0, (g_cy - d_cy) / d_h / v_1, log(g_w / d_w) / v_2, log(g_h / d_h) / v_3.

    `variance_in_target` omits the division by the variances (Caffe's encode_variance_in_target: its loss layer
    divides). Boxes without area have no finite `center_size` offsets (a logarithm of 0); no error is raised, the caller
    masks them.

    Raises:
        UnknownNameError: no such code.
    """
    _check(code)
    if code == "center_size":
        boxes, defaults = xyxy_to_cxcywh(boxes_xyxy), xyxy_to_cxcywh(default_boxes_xyxy)
        shift = (boxes[..., :2] - defaults[..., :2]) / defaults[..., 2:]
        numeric = namespace(boxes)
        offsets = numeric.concatenate([shift, numeric.log(boxes[..., 2:] / defaults[..., 2:])], axis=-1)
    else:
        offsets = boxes_xyxy - default_boxes_xyxy
        if code == "corner_size":
            offsets = offsets / _sizes_twice(default_boxes_xyxy)
    return offsets if variance_in_target else offsets / _row(variances, offsets)  # type: ignore[no-any-return]


def decode(
    offsets: Float[Array, "*n 4"],
    default_boxes_xyxy: Float[Array, "*n 4"],
    variances: Sequence[float] | Float[Array, "*n 4"],
    *,
    code: Code = "center_size",
    variance_in_target: bool = False,
    clip: bool = False,
) -> Float[Array, "*n 4"]:
    """Boxes from offsets (Caffe bbox_util.cpp, DecodeBBox); inverts `encode`.

    The exponential is not clamped, so a large offset overflows to infinity. `clip` clips the boxes to the image,
    [0, 1].

    Raises:
        UnknownNameError: no such code.
    """
    _check(code)
    if not variance_in_target:
        offsets = offsets * _row(variances, offsets)
    if code == "center_size":
        defaults = xyxy_to_cxcywh(default_boxes_xyxy)
        numeric = namespace(offsets)
        centres = offsets[..., :2] * defaults[..., 2:] + defaults[..., :2]
        sizes = numeric.exp(offsets[..., 2:]) * defaults[..., 2:]
        boxes = cxcywh_to_xyxy(numeric.concatenate([centres, sizes], axis=-1))
    elif code == "corner_size":
        boxes = default_boxes_xyxy + offsets * _sizes_twice(default_boxes_xyxy)
    else:
        boxes = default_boxes_xyxy + offsets
    return clip_boxes(boxes, width=1, height=1) if clip else boxes  # type: ignore[no-any-return]


def _check(code: str) -> None:
    if code not in get_args(Code):
        raise UnknownNameError("box code", code, get_args(Code))


def _sizes_twice(boxes_xyxy: Any) -> Any:
    """(w, h, w, h) of each box: the units of the four corner coordinates."""
    sizes = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    return namespace(boxes_xyxy).concatenate([sizes, sizes], axis=-1)


def _row(variances: Any, like: Any) -> Any:
    """The variances as an array of the same library, type and device as `like`."""
    numeric = namespace(like)
    if numeric.__name__ == "torch":
        return numeric.as_tensor(variances, dtype=like.dtype, device=like.device)
    return numeric.asarray(variances, dtype=like.dtype)
