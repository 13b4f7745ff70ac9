"""`ssd label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from singleshot.commands.label import ORDER, LabelOptions

if TYPE_CHECKING:
    from singleshot.commands.label import LabelResult

SHOWN = 3
NEXT = {
    "cvat": "next: a task with {out}/labels.json as its labels (Raw) and the images of {out}/images; then its menu, "
    "Upload annotations, CVAT 1.1: {out}/annotations.xml",
    "label-studio": "next: LOCAL_FILES_SERVING_ENABLED=true LOCAL_FILES_DOCUMENT_ROOT={whole} label-studio; a project "
    "with {out}/label-config.xml as its interface (Code) and {whole}/images as local storage; import {out}/tasks.json",
    "labelme": "next: labelme {out}",
}


def label(
    data: Path,
    *,
    options: Annotated[LabelOptions, Parameter(name="*")],
    json: Path | None = None,
) -> int:
    """Let a model label images, for a person to correct in CVAT, Label Studio or labelme.

    Args:
        data: an image, a folder of images, or a set of which some images have no labels yet.
        json: file for the counts, and the images in the order to correct them.
    """
    from singleshot.commands.label import label_images
    from singleshot.console import progress, remarks
    from singleshot.files import require_output, write_json

    require_output(json, "--json", [data])
    people = remarks()
    with progress(people, "detecting") as on_image:
        result = label_images(data, options, on_note=people.print, on_image=on_image)
    for line in (*result.failed, *result.remarks):
        people.print(f"ssd: {line}")
    _tell(result)
    write_json(json, result.to_dict())
    return 1 if result.failed else 0


def _tell(result: LabelResult) -> None:
    """What was written, the images to begin with, and what to do with it."""
    from singleshot.console import results

    stdout = results()
    empty = sum(not len(image.labels) for image in result.images)
    boxes = ", ".join(f"{count:,} x {name}" for name, count in result.per_class.items())
    stdout.print(f"{result.out}: {len(result.images):,} images, {result.boxes:,} boxes ({boxes}), {result.format}")
    if empty:
        stdout.print(f"{empty:,} images without a box")
    stdout.print(f"{ORDER} lists the images, those first of which the model is least sure:")
    for image, place in list(zip(result.images, result.places, strict=True))[:SHOWN]:
        stdout.print(f"  {place}: {len(image.labels)} boxes, {image.corrections:.1f} expected to be wrong or missing")
    following = NEXT.get(result.format, "next: ssd data show {out} --out page.html")
    stdout.print(following.format(out=result.out, whole=result.out.resolve()))
