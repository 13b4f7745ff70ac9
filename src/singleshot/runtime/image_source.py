"""Whatever a user hands over as an image, as the pixels that a `Detector` searches.

A path, bytes, an open file      decoded, see `decode.py`
PIL image                        as displayed, see `decode.image_pixels`
array (H, W), (H, W, 1)          grey, three equal channels
array (H, W, 3)                  RGB
array (H, W, 4)                  RGB, alpha dropped, as from a file
float array in 0..1              times 255, rounded, with a `UserWarning`
torch tensor (C, H, W)           as an array (H, W, C); (H, W, C) and (H, W) too

Whether three channels are RGB or OpenCV's BGR cannot be known from the numbers: RGB is expected.
"""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import PIL.Image

from singleshot.decode import BYTES_A_PIXEL, decode_image, image_pixels, pixel_limit
from singleshot.errors import ImageError
from singleshot.shapes import UInt8

CHANNELS = (1, 3, 4)
"""Of grey, RGB and RGBA images."""


@runtime_checkable
class BinaryFile(Protocol):
    """An open file; `read` gives bytes."""

    def read(self, size: int, /) -> Any:
        """So many bytes, or what is left."""


@runtime_checkable
class Array(Protocol):
    """What numpy makes an array of, such as a torch tensor."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """The values."""


ImageSource: TypeAlias = str | PathLike[str] | PIL.Image.Image | np.ndarray | bytes | bytearray | BinaryFile | Array
SINGLE = (str, PathLike, PIL.Image.Image, bytes, bytearray, memoryview, BinaryFile, Array)
"""Types of one image; whatever else can be iterated over is many."""


def as_array(image: ImageSource, *, max_pixels: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """RGB uint8 pixels of whatever a user hands over, see the table at the top of this file.

    Args:
        image: one image.
        max_pixels: the limit of a file's width x height; None: that of `decode.pixel_limit`.

    Raises:
        ImageError: nothing that can be an image; the message names the conversion. Or a file that cannot be decoded.

    Warns:
        UserWarning: floats were multiplied by 255.
    """
    if isinstance(image, str) and "://" in image:
        raise ImageError(f"{image}: addresses are not read; download the image, and give its path or its bytes")
    if isinstance(image, str | PathLike):
        return decode_image(Path(image), max_pixels=max_pixels)
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image), max_pixels=max_pixels)
    if isinstance(image, PIL.Image.Image):
        return image_pixels(image)
    if image is None:
        raise ImageError("expected an image, got None: cv2.imread returns it where it finds or can read no file")
    if isinstance(image, Array):
        return _pixels(*_values(image))
    if isinstance(image, BinaryFile):
        return decode_image(_content(image, max_pixels or pixel_limit()), max_pixels=max_pixels)
    raise ImageError(
        f"an image is a path, bytes, an open file, a PIL image, an array or a tensor, got {type(image).__name__}"
    )


def _content(file: BinaryFile, max_pixels: int) -> bytes:
    """What is left to read in a file, but for what no image of so many pixels has."""
    content = file.read(BYTES_A_PIXEL * max_pixels + 1)
    if not isinstance(content, bytes):
        raise ImageError(
            f"a file must be open for bytes (mode 'rb'), its read() gave {type(content).__name__}; of an "
            "asynchronous upload give the bytes: await file.read()"
        )
    if not content:
        raise ImageError("nothing is left to read in the file; after writing or reading it needs file.seek(0)")
    return content


def _values(image: Array) -> tuple[np.ndarray, bool]:
    """The values, and whether it was a torch tensor, whose channels may come first; torch is not imported for it."""
    if not type(image).__module__.startswith("torch"):
        return np.asarray(image), False
    tensor: Any = image
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():  # numpy has no bfloat16
        tensor = tensor.float()
    return tensor.numpy(), True


def _pixels(values: np.ndarray, is_tensor: bool) -> UInt8[np.ndarray, "H W 3"]:
    shape = values.shape
    if values.ndim == 4:
        raise ImageError(f"expected one image, got a batch of shape {shape}: give a list of images, list(batch)")
    channels_first = values.ndim == 3 and shape[0] in CHANNELS
    if channels_first and is_tensor:
        values = values.transpose(1, 2, 0)
    elif channels_first and shape[2] not in CHANNELS:
        raise ImageError(f"an image must be (H, W, 3), got {shape}: image.transpose(1, 2, 0) moves the channels")
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in CHANNELS or values.size == 0:
        raise ImageError(
            f"an image must be RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W), with pixels in it, got {shape}"
        )
    values = _as_uint8(values)
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else np.ascontiguousarray(values[..., :3])


def _as_uint8(values: np.ndarray) -> UInt8[np.ndarray, "H W C"]:
    """8-bit values; those of floats in 0..1 times 255."""
    if values.dtype == np.uint8:
        return values
    expected = f"an image must be uint8, or float in 0..1, got {values.dtype}"
    if values.dtype == bool:
        raise ImageError(f"{expected}: image.astype(np.uint8) * 255 converts it")
    if not np.issubdtype(values.dtype, np.number) or np.issubdtype(values.dtype, np.complexfloating):
        raise ImageError(f"{expected}, which is no image")
    lowest, highest = values.min(), values.max()
    is_float = np.issubdtype(values.dtype, np.floating)
    if is_float and lowest >= 0 and highest <= 1:  # false for NaN
        warnings.warn("an image of floats in 0..1 was multiplied by 255", stacklevel=2)
        return np.rint(values * np.float32(255)).astype(np.uint8)
    expected += f" from {lowest:g} to {highest:g}"
    if is_float and not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ImageError(f"{expected}: pixels must be finite")
    if is_float and lowest < 0:
        raise ImageError(f"{expected}: undo its normalisation first (times deviation, plus mean)")
    if lowest >= 0 and highest <= 255:
        raise ImageError(f"{expected}: image.astype(np.uint8) converts values of 0..255")
    raise ImageError(f"{expected}: scale it to 0..255, then image.astype(np.uint8)")
