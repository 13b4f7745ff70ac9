"""Read COCO: `annotations/instances_SPLIT.json` beside folders of images, or one such json.

Boxes are stored as left, top, width, height. All categories are classes, in the order of their ids, also those without
objects in the split. A crowd region counts as difficult, as in Caffe's COCO lists.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.faults import Fault
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import parse_json, read_regular

LIMIT_BYTES = 2**32  # COCO's own train2017 has half a gigabyte
ROBOFLOW = "_annotations.coco.json"


def coco_files(path: Path) -> dict[str, Path]:
    """Split -> its json; `annotations/instances_train2017.json` is the split train2017."""
    if path.is_file():
        return {path.stem.removeprefix("instances_"): path}
    folder = path / "annotations"
    if files := sorted(folder.glob("instances_*.json")) or sorted(folder.glob("*.json")):
        return {file.stem.removeprefix("instances_"): file for file in files}
    return {file.parent.name: file for file in sorted(path.glob(f"*/{ROBOFLOW}"))}


def read_coco(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of one COCO json: that of the split, or the only one.

    Raises:
        DataError: not a COCO instances file.
        UnknownNameError: no such split.
    """
    files = coco_files(path)
    if split is not None and split not in files:
        raise UnknownNameError("split", split, files)
    if split is None and len(files) != 1:
        raise DataError(f"{path} has {len(files)} COCO files; expected one")
    name = next(iter(files)) if split is None else split
    return _read_file(files[name], name)


def _read_file(file: Path, split: str) -> ReadResult:
    try:
        content = parse_json(read_regular(file, LIMIT_BYTES), each_object=_without_segmentation)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {error}") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise DataError(f"{file}: expected COCO's lists {', '.join(keys)}; got {_keys(content)}")
    names = _category_names(content["categories"], file)
    root = file.parent.parent if file.parent.name.lower() == "annotations" else file.parent
    faults: list[Fault] = []
    images = _sound_images(content["images"], file.name, faults)
    objects = _objects_by_image(content["annotations"], images, file.name, faults)
    folder = _image_folder(root, file.parent, split, images)
    prefix = folder.relative_to(root).as_posix() + "/" if folder != root else ""
    builder = AnnotationBuilder()
    for identity, image in images.items():
        name = prefix + image["file_name"].replace("\\", "/")
        builder.add_image(name, str(identity), width=_side(image, "width"), height=_side(image, "height"))
        for number, item in enumerate(objects.get(identity, ()), 1):
            _add_object(builder, item, names, Fault("malformed", name, "", number), faults)
    return builder.finish(
        [*faults, *_missing_images(folder, prefix, builder.files)],
        format_name="coco",
        root=root,
        class_names=tuple(names.values()),
        category_ids=tuple(names),
    )


def _without_segmentation(item: dict[str, Any]) -> dict[str, Any]:
    """Drop outlines while parsing: they are nine tenths of the file, and boxes do not need them."""
    item.pop("segmentation", None)
    return item


def _keys(content: Any) -> str:
    return (
        f"the keys {', '.join(map(str, islice(content, 10)))}" if isinstance(content, dict) else type(content).__name__
    )


def _category_names(categories: list[Any], file: Path) -> dict[int, str]:
    """Name of each category id, in the order of the ids."""
    names = {}
    for item in categories:
        if not (isinstance(item, dict) and _is_int(item.get("id")) and isinstance(item.get("name"), str)):
            raise DataError(f"{file}: a category must have a whole number `id` and a `name`, got {str(item)[:80]}")
        if item["id"] in names:
            raise DataError(f"{file}: the category id {item['id']} occurs twice")
        names[item["id"]] = item["name"]
    if len(set(names.values())) != len(names):
        raise DataError(f"{file}: two categories have the same name")
    return dict(sorted(names.items()))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _side(image: dict[str, Any], side: str) -> int:
    value = image.get(side)
    return int(value) if isinstance(value, (int, float)) and 0 < value < 2**31 else 0


def _sound_images(items: list[Any], name: str, faults: list[Fault]) -> dict[Any, dict[str, Any]]:
    """Images by id; malformed entries and repeated ids become faults."""
    images: dict[Any, dict[str, Any]] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("id"), (int, str)):
            faults.append(Fault("malformed", name, f"an image must have an `id`, got {str(item)[:80]}"))
        elif not isinstance(item.get("file_name"), str) or not item["file_name"]:
            faults.append(Fault("malformed", name, f"image {item['id']!r} has no `file_name`"))
        elif item["id"] in images:
            faults.append(Fault("duplicate id", name, f"image id {item['id']!r} occurs twice"))
        else:
            images[item["id"]] = item
    return images


def _objects_by_image(
    items: list[Any], images: dict[Any, Any], name: str, faults: list[Fault]
) -> dict[Any, list[dict[str, Any]]]:
    """Objects of each image, in the order of the file; an annotation whose image does not exist becomes a fault."""
    objects: dict[Any, list[dict[str, Any]]] = {}
    seen = set()
    for item in items:
        if not isinstance(item, dict):
            faults.append(Fault("malformed", name, f"an annotation must be an object, got {str(item)[:80]}"))
            continue
        identity, image = item.get("id"), item.get("image_id")
        if isinstance(identity, (int, str)):
            if identity in seen:
                faults.append(Fault("duplicate id", name, f"annotation id {identity!r} occurs twice"))
            seen.add(identity)
        if not isinstance(image, (int, str)) or image not in images:
            faults.append(
                Fault("malformed", name, f"annotation {identity!r} is of no image: image_id {str(image)[:40]!r}")
            )
        else:
            objects.setdefault(image, []).append(item)
    return objects


def _add_object(
    builder: AnnotationBuilder, item: dict[str, Any], names: dict[int, str], fault: Fault, faults: list[Fault]
) -> None:
    """Add one annotation, or a fault with the place of `fault` that says what is wrong with it."""
    box, category, area = item.get("bbox"), item.get("category_id"), item.get("area")
    which = f"annotation {item.get('id')!r}"
    if not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)):
        faults.append(
            Fault(fault.kind, fault.file, f"{which}: bbox must be 4 numbers, got {str(box)[:60]}", fault.number)
        )
    elif not _is_int(category) or category not in names:
        detail = f"{which}: category_id {str(category)[:40]} is not among the categories"
        faults.append(Fault("unknown class", fault.file, detail, fault.number))
    else:
        left, top, width, height = map(float, box)
        crowd = bool(item.get("iscrowd"))
        builder.add_box(
            (left, top, left + width, top + height),
            names[category],
            number=fault.number,
            difficult=crowd,
            crowd=crowd,
            area=float(area) if isinstance(area, (int, float)) and _is_number(area) else None,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _image_folder(root: Path, beside: Path, split: str, images: dict[Any, dict[str, Any]]) -> Path:
    """The folder with the images: named after the split, `images`, or the folder of the json."""
    short = split.rstrip("0123456789")
    folders = [
        root / split,
        root / "images" / split,
        root / short,
        root / "images" / short,
        root / "images",
        root,
        beside,
    ]
    first = [image["file_name"] for image in islice(images.values(), 20)]
    return next((folder for folder in folders if any((folder / name).is_file() for name in first)), folders[0])


def _missing_images(folder: Path, prefix: str, files: list[str]) -> list[Fault]:
    """Images that do not exist. The folder is listed once, which is faster than asking for each file."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    faults = []
    for file in files:
        name = file.removeprefix(prefix)
        if name not in names and not (("/" in name) and (folder / name).is_file()):
            faults.append(Fault("missing image", file, "no such file"))
    return faults
