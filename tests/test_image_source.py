"""Every kind of image in Python gives the pixels that the same image gives from a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from singleshot.errors import ImageError
from singleshot.runtime.image_source import as_array

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[..., 0]


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    return path


def test_files_by_path_content_or_handle(png: Path) -> None:
    content = png.read_bytes()
    with png.open("rb") as file:
        for source in (png, str(png), content, bytearray(content), memoryview(content), io.BytesIO(content), file):
            np.testing.assert_array_equal(as_array(source), RGB)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (RGB, RGB),
        (RGB[:, ::-1], RGB[:, ::-1]),
        (np.dstack([RGB, GREY]), RGB),
        (GREY, np.dstack([GREY] * 3)),
        (GREY[..., None], np.dstack([GREY] * 3)),
        (torch.from_numpy(RGB), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(GREY)[None], np.dstack([GREY] * 3)),
        (torch.from_numpy(GREY), np.dstack([GREY] * 3)),
        (torch.from_numpy(np.dstack([RGB, GREY])).permute(2, 0, 1), RGB),
    ],
    ids=str,
)
def test_arrays_and_tensors(source: Any, expected: np.ndarray) -> None:
    pixels = as_array(source)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "source",
    [RGB / 255, (RGB / 255).astype(np.float32), torch.from_numpy(RGB).permute(2, 0, 1) / 255],
    ids=["float64", "float32", "tensor"],
)
def test_floats_in_0_to_1_are_converted_and_it_is_said(source: Any) -> None:
    with pytest.warns(UserWarning, match="255"):
        np.testing.assert_array_equal(as_array(source), RGB)


def test_half_precision_and_gradients_are_taken() -> None:
    tensor = torch.ones(3, 5, 7, dtype=torch.bfloat16, requires_grad=True)
    with pytest.warns(UserWarning, match="255"):
        assert (as_array(tensor) == 255).all()


@pytest.mark.parametrize(
    ("wrong", "token"),
    [
        (RGB.transpose(2, 0, 1), "transpose(1, 2, 0)"),
        (RGB[None], "list(batch)"),
        (torch.zeros(2, 3, 5, 7), "list(batch)"),
        (np.zeros((0, 4, 3), np.uint8), "(0, 4, 3)"),
        (np.zeros((4, 4, 2), np.uint8), "(4, 4, 2)"),
        (np.zeros(4, np.uint8), "(4,)"),
        (RGB.astype(np.float32), "astype(np.uint8)"),
        (RGB.astype(np.int64), "astype(np.uint8)"),
        (RGB.astype(np.uint16) * 256, "scale"),
        (RGB / 255 - 0.5, "normalisation"),
        (np.full((4, 4, 3), np.nan), "finite"),
        (np.full((4, 4, 3), np.inf), "finite"),
        (RGB > 9, "* 255"),
        (RGB.astype(complex), "complex128"),
        (RGB.astype(str), "no image"),
        (None, "cv2.imread"),
        ("https://example.org/a.jpg", "addresses"),
        ("file:///a.jpg", "addresses"),
        (io.BytesIO(), "seek(0)"),
        (io.StringIO("text"), "'rb'"),
        (3, "int"),
        (Image.new("RGB", (0, 5)), "no pixels: 0x5"),
        (Image.new("F", (5, 5)), "mode F"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_others_are_refused_with_the_conversion(wrong: Any, token: str) -> None:
    with pytest.raises(ImageError) as refused:
        as_array(wrong)
    assert token in str(refused.value)
