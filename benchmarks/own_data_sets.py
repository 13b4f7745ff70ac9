"""The sets of the own-data suite: what each public repository holds, read into one form and written as VOC folders.

Every reader takes a snapshot of a repository and gives `Labels`: of each image its name, its place in the snapshot and
its objects. What a reader mends or leaves out is counted and told; why, stands in its docstring.
"""

from __future__ import annotations

import io
import math
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import defusedxml.ElementTree
from PIL import Image

LEAST_DRONE = 4.0
"""Pixels. A drone's box that is narrower or lower is a click beside it: drones are larger."""
LEAST_SIDE = 1.0
"""Pixels of an object that must be inside of its image."""


@dataclass(frozen=True)
class LabelledObject:
    """An object's class and its box in pixels (left, top, right, bottom)."""

    name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class LabelledImage:
    """Where an image lies in its snapshot, and its objects.

    Attributes:
        path: of the image in the snapshot.
        objects: may lie outside of the image: they are cut when they are written.
        fractions: whether the boxes are fractions of width and height instead of pixels.
    """

    path: str
    objects: tuple[LabelledObject, ...]
    fractions: bool = False


Labels = Mapping[str, LabelledImage]
"""Image name -> the image."""


@dataclass(frozen=True)
class Snapshot:
    """A repository's files at a commit, read through git.

    Attributes:
        folder: its git directory.
        commit: any name that git knows it by.
    """

    folder: Path
    commit: str

    def files(self, *under: str) -> list[str]:
        """The paths of all files below some folders."""
        command = ["git", "-C", str(self.folder), "ls-tree", "-r", "-z", "--name-only", self.commit, *under]
        listed = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603 (git)
        return [name.decode() for name in listed.split(b"\0") if name]

    def read(self, paths: Iterable[str]) -> Iterator[bytes]:
        """The content of each file in turn, through one git process.

        Raises:
            FileNotFoundError: a file is listed, but absent from the snapshot.
        """
        command = ["git", "-C", str(self.folder), "cat-file", "--batch"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as git:  # noqa: S603 (git)
            assert git.stdin is not None
            assert git.stdout is not None
            for path in paths:
                git.stdin.write(f"{self.commit}:{path}\n".encode())
                git.stdin.flush()
                header = git.stdout.readline().split()
                if len(header) != 3:
                    raise FileNotFoundError(f"{path} is not in {self.folder} at {self.commit}: fetch it again")
                yield git.stdout.read(int(header[2]))
                git.stdout.read(1)
            git.stdin.close()


def face_masks(snapshot: Snapshot) -> Labels:
    """Faces with, without and with a badly worn mask: YOLO files, fractions of the image."""
    names = ("mask_weared_incorrect", "with_mask", "without_mask")
    images = snapshot.files("data/coco/images/val2017")
    images = [path for path in images if path.endswith(".jpg")]
    texts = snapshot.read(path.replace("/images/", "/labels/").removesuffix(".jpg") + ".txt" for path in images)
    labels = {}
    for path, text in zip(images, texts, strict=True):
        objects = []
        for line in text.decode().splitlines():
            number, *numbers = line.split()
            objects.append(LabelledObject(names[int(number)], _around(*map(float, numbers))))
        labels[Path(path).name.split("_png")[0]] = LabelledImage(path, tuple(objects), fractions=True)
    return labels


def drones(snapshot: Snapshot) -> Labels:
    """Drones: centre and size in pixels.

    The repository's normalised labels hold one box an image where these hold up to seven, so these are read. 48 images
    have boxes with a side of one to three pixels (clicks beside the drone), which are left out; the one image that has
    no other box shows drones without labels and is left out with them.
    """
    images = snapshot.files("images")
    texts = snapshot.read(f"labels/{Path(path).stem}.txt" for path in images)
    labels, dropped = {}, 0
    for path, text in zip(images, texts, strict=True):
        boxes = [_around(*map(float, line.split()[1:])) for line in text.decode().splitlines() if line.strip()]
        kept = [box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= LEAST_DRONE]
        dropped += len(boxes) - len(kept)
        if kept:
            labels[Path(path).stem] = LabelledImage(path, tuple(LabelledObject("drone", box) for box in kept))
    print(f"drones: {dropped} boxes of less than {LEAST_DRONE:g} pixels left out, {len(images) - len(labels)} images")
    return labels


def faces(snapshot: Snapshot) -> Labels:
    """FDDB's faces, as boxes around its ellipses.

    The repository's own boxes take the ellipses' angle for degrees (it is in radians), and leave out every face that
    reaches over the image's edge, unlabelled but visible. Its images are FDDB's in the order of the folds, less those
    that had no box left; so each image is found again by the boxes that the repository made of its ellipses.
    """
    remaining = _ellipses(snapshot)
    images = snapshot.files("JPEGImages")
    documents = snapshot.read(f"Annotations/{Path(path).stem}.xml" for path in images)
    labels, visible = {}, 0
    for path, document in zip(images, documents, strict=True):
        root = defusedxml.ElementTree.fromstring(document)
        size_wh = _integer(root, "size/width"), _integer(root, "size/height")
        written = [box for _, box in _voc_objects(root)]
        ellipses = next((item for item in remaining if _boxes_of_repository(item, size_wh) == written), None)
        if ellipses is None:
            raise ValueError(f"{path}: the boxes of its annotation are those of no image in FDDB's folds")
        objects = tuple(LabelledObject("face", _around_ellipse(ellipse)) for ellipse in ellipses)
        labels[Path(path).stem] = LabelledImage(path, objects)
        visible += len(objects) - len(written)
    print(f"faces: {visible} faces at an edge, which the repository leaves out, are labelled")
    return labels


def street(snapshot: Snapshot) -> Labels:
    """People and their heads (`deflection`: turned to the side) in pedestrian zones.

    In 001158 to 001450 and others only heads are labelled: an image with fewer people than heads is left out.
    """
    images = snapshot.files("JPEGImages")
    documents = snapshot.read(f"Annotations/{Path(path).stem}.xml" for path in images)
    labels = {}
    for path, document in zip(images, documents, strict=True):
        objects = [LabelledObject(*item) for item in _voc_objects(defusedxml.ElementTree.fromstring(document))]
        people = sum(item.name == "person" for item in objects)
        if people >= len(objects) - people:
            labels[Path(path).stem] = LabelledImage(path, tuple(objects))
    print(f"street: {len(images) - len(labels)} images left out, with heads whose people are not labelled")
    return labels


def write_voc_folder(snapshot: Snapshot, labels: Labels, folder: Path) -> None:
    """Write images and annotations into a folder: `JPEGImages/NAME.jpg`, `Annotations/NAME.xml`.

    Boxes are cut at the image's edge; what has less than `LEAST_SIDE` inside is left out and counted.
    """
    for part in ("JPEGImages", "Annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    contents = snapshot.read(image.path for image in labels.values())
    cut = 0
    for (name, image), content in zip(labels.items(), contents, strict=True):
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(content)
        with Image.open(io.BytesIO(content)) as opened:
            size_wh = opened.size
        objects = [item for item in map(_cut_to(size_wh, fractions=image.fractions), image.objects) if item]
        cut += len(image.objects) - len(objects)
        document = _annotation(f"{name}.jpg", size_wh, objects)
        (folder / "Annotations" / f"{name}.xml").write_text(document + "\n", encoding="utf-8")
    if cut:
        print(f"{folder.name}: {cut} objects with less than a pixel inside of their image left out")


def copy_voc_folder(source: Path, folder: Path) -> None:
    """Copy a VOC folder whose own split is used."""
    shutil.copytree(source, folder, dirs_exist_ok=True)


def _around(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Left, top, right, bottom from centre and size."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _ellipses(snapshot: Snapshot) -> Iterator[list[tuple[float, ...]]]:
    """Of each image of FDDB's ten folds in turn, its ellipses: half axes, angle in radians, centre."""
    folds = snapshot.read(f"FDDB-folds/FDDB-fold-{number:02}-ellipseList.txt" for number in range(1, 11))
    for text in folds:
        lines = iter(text.decode().splitlines())
        for name in lines:
            if name.strip():
                count = int(next(lines))
                yield [tuple(map(float, next(lines).split()[:5])) for _ in range(count)]


def _boxes_of_repository(
    ellipses: Iterable[tuple[float, ...]], size_wh: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """The boxes that the repository's `example.py` makes of ellipses."""
    boxes: list[tuple[float, float, float, float]] = []
    for major, minor, angle, x, y in ellipses:
        cosine, sine = math.cos(math.radians(-angle)), math.sin(math.radians(-angle))
        corners = [(-minor, -major), (minor, -major), (minor, major), (-minor, major)]
        lefts = [cosine * a - sine * b + x for a, b in corners]
        tops = [sine * a + cosine * b + y for a, b in corners]
        box = int(min(lefts)), int(min(tops)), int(max(lefts)), int(max(tops))
        if box[0] > 0 and box[1] > 0 and box[2] < size_wh[0] and box[3] < size_wh[1]:
            boxes.append(box)
    return boxes


def _around_ellipse(ellipse: tuple[float, ...]) -> tuple[float, float, float, float]:
    major, minor, angle, x, y = ellipse
    width = 2 * math.hypot(major * math.cos(angle), minor * math.sin(angle))
    height = 2 * math.hypot(major * math.sin(angle), minor * math.cos(angle))
    return _around(x, y, width, height)


def _voc_objects(root: ET.Element) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    for item in root.iter("object"):
        left, top, right, bottom = (_integer(item, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        yield item.findtext("name") or "", (left, top, right, bottom)


def _integer(element: ET.Element, path: str) -> int:
    return int(element.findtext(path) or "")


def _cut_to(size_wh: tuple[int, int], *, fractions: bool) -> Callable[[LabelledObject], LabelledObject | None]:
    """Cuts an object's box to an image; None where too little of it is inside."""
    width, height = size_wh
    scale_x, scale_y = size_wh if fractions else (1, 1)

    def cut(item: LabelledObject) -> LabelledObject | None:
        left, right = (min(max(item.box[side] * scale_x, 0.0), float(width)) for side in (0, 2))
        top, bottom = (min(max(item.box[side] * scale_y, 0.0), float(height)) for side in (1, 3))
        large = min(right - left, bottom - top) >= LEAST_SIDE
        return LabelledObject(item.name, (left, top, right, bottom)) if large else None

    return cut


def _annotation(filename: str, size_wh: tuple[int, int], objects: Iterable[LabelledObject]) -> str:
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = filename
    size = ET.SubElement(root, "size")
    for name, value in zip(("width", "height", "depth"), (*size_wh, 3), strict=True):
        ET.SubElement(size, name).text = str(value)
    for labelled in objects:
        item = ET.SubElement(root, "object")
        ET.SubElement(item, "name").text = labelled.name
        ET.SubElement(item, "difficult").text = "0"
        sides = ET.SubElement(item, "bndbox")
        for name, side in zip(("xmin", "ymin", "xmax", "ymax"), labelled.box, strict=True):
            ET.SubElement(sides, name).text = f"{side:.2f}".rstrip("0").rstrip(".")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")
