"""Detections of a set in the forms that other tools write, for tests that read them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singleshot.types import Annotations, Detections


def to_coco_results(annotations: Annotations, detections: Sequence[Detections]) -> list[dict[str, Any]]:
    """COCO's results; ids that are no numbers stay text."""
    categories = dict(zip(annotations.class_names, annotations.category_ids, strict=True))
    ids = [int(name) if name.isascii() and name.isdigit() else name for name in annotations.ids]
    return [row for name, found in zip(ids, detections, strict=True) for row in found.to_coco(name, categories)]


def to_document(annotations: Annotations, detections: Sequence[Detections], *, model: str) -> dict[str, Any]:
    """Our own JSON, as `ssd detect --json` writes it; files are relative to the set."""
    return {
        "model": model,
        "images": [
            {"file": file, "width": int(width), "height": int(height), "detections": found.to_dicts()}
            for file, (width, height), found in zip(annotations.files, annotations.sizes_wh, detections, strict=True)
        ],
    }


def write_devkit(
    folder: Path, annotations: Annotations, detections: Sequence[Detections], *, prefix: str = "comp4_det_test"
) -> list[Path]:
    """VOC devkit text: one file a class of the set, `id score left top right bottom` a line; empty for no detections.

    Scores have 6 digits, boxes hundredths of a pixel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in annotations.class_names:
        lines = [
            f"{identity} {score:.6f} " + " ".join(f"{v:.2f}" for v in box)
            for identity, found in zip(annotations.ids, detections, strict=True)
            for box, label, score in zip(found.boxes, found.names, found.scores, strict=True)
            if label == name
        ]
        written.append(folder / f"{prefix}_{name}.txt")
        written[-1].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return written
