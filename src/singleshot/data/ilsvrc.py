"""Read an ILSVRC DET tree: `Annotations/DET/PART/ID.xml`, `Data/DET/PART/ID.JPEG`, `ImageSets/DET/SPLIT.txt`.

PART is train, val or test. A list's lines are an id and a number; the kit has 200 lists to train on, one a class, whose
lines end with 1 where the class is in the image: the split `train` is what any of them holds. The convention of
Girshick et al. to cut val into halves is a matter of lists, `val1.txt` and `val2.txt`, which are read like any other.
Objects bear the names of WordNet's synsets; they become the kit's 200 English ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.class_names import ILSVRC_CLASSES, ILSVRC_NAMES
from singleshot.data.faults import Fault
from singleshot.data.voc import LIMIT_BYTES, VocImage, read_voc_xml
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import read_lines, read_regular

ANNOTATIONS, IMAGES, LISTS = "Annotations/DET", "Data/DET", "ImageSets/DET"
PARTS = ("train", "val", "test")
_OF_CLASS = re.compile(r"train_(\d+|pos_\d+|neg_\d+|part\d+)$")
TRAIN = "train"


def is_ilsvrc(folder: Path) -> bool:
    """Whether a folder is such a tree."""
    return (folder / LISTS).is_dir() and (folder / ANNOTATIONS).is_dir()


def ilsvrc_splits(root: Path) -> list[str]:
    """Names of the lists; those of single classes are one, `train`."""
    names = [path.stem for path in sorted((root / LISTS).glob("[!.]*.txt"))]
    others = [name for name in names if not _OF_CLASS.match(name)]
    return [*([TRAIN] if len(others) < len(names) and TRAIN not in others else []), *others]


def read_ilsvrc(root: Path, *, split: str | None = None) -> ReadResult:
    """The ground-truth boxes of a tree, or of one of its splits, with the faults met on the way.

    Raises:
        DataError: a list cannot be read, or there is no annotation at all.
        UnknownNameError: no such split.
    """
    known = ilsvrc_splits(root)
    if split is not None and split not in known:
        raise UnknownNameError("split", split, known)
    if split is None:
        places = [
            path.relative_to(root / ANNOTATIONS).with_suffix("").as_posix()
            for part in PARTS
            for path in sorted((root / ANNOTATIONS / part).rglob("[!.]*.xml"))
        ]
    else:
        part = next((part for part in PARTS if split.startswith(part)), "val")
        places = [f"{part}/{identity}" for identity in _listed(root, split)]
    if not places:
        raise DataError(f"{root}: no annotation in {ANNOTATIONS}/{' or '.join(PARTS)}" if split is None else f"{root}: "
                        f"the split {split} is empty")  # fmt: skip
    return _read(root, places)


def _listed(root: Path, split: str) -> Iterable[str]:
    """The ids of a split, each once."""
    own = root / LISTS / f"{split}.txt"
    if own.is_file():
        return dict.fromkeys(line.split()[0] for line in _lines(own))
    found: dict[str, None] = {}
    for path in sorted((root / LISTS).glob(f"{TRAIN}_*.txt")):
        if not _OF_CLASS.match(path.stem) or "_neg_" in path.stem:
            continue
        for line in _lines(path):
            identity, *number = line.split()
            if not number or number[0] == "1":
                found[identity] = None
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in read_lines(path, LIMIT_BYTES) if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of images: {error}") from None


def _read(root: Path, places: list[str]) -> ReadResult:
    builder, faults = AnnotationBuilder(), list[Fault]()
    for place in places:
        name, image = f"{ANNOTATIONS}/{place}.xml", f"{IMAGES}/{place}.JPEG"
        ground_truth = VocImage("", 0, 0, (), ())
        try:
            ground_truth = read_voc_xml(read_regular(root / name, LIMIT_BYTES), name)
        except FileNotFoundError:
            faults.append(Fault("missing annotation", name, "the list names it"))
        except (ValueError, OSError) as error:
            faults.append(Fault("malformed", name, str(error)))
        if not (root / image).is_file():
            faults.append(Fault("missing image", name, f"no image {image}"))
        identity = place.partition("/")[2]
        builder.add_image(image, identity, width=ground_truth.width, height=ground_truth.height)
        for number, box, synset, _ in ground_truth.objects:
            builder.add_box(box, ILSVRC_NAMES.get(synset, synset), number=number)
        faults += ground_truth.faults
    others = sorted(set(builder.class_numbers) - set(ILSVRC_CLASSES))
    return builder.finish(faults, format_name="ilsvrc", root=root, class_names=(*ILSVRC_CLASSES, *others))
