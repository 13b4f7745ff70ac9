"""`ssd weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from singleshot.cli.verbs import VERBS
from singleshot.errors import RequestError

app = App(name="weights", help="Bring in weights of other projects.")


@app.command(
    name="import",
    help_epilogue=VERBS["weights"].epilogue,
)
def import_(
    *file: Path,
    out: Path,
    classes: str | None = None,
    size: str | None = None,
    keep: str | None = None,
    labels: Path | None = None,
    whole: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Turn foreign weights into a model folder, or into a backbone to start a training from.

    Detectors: Caffe's SSD, MobileNet-SSD and Ultra-Light-Face (.prototxt and .caffemodel); .pth files of torchvision,
    ssd.pytorch, lufficc/SSD (on VGG-16), qfgaohao/pytorch-ssd and Ultra-Light-Face. Backbones: a .caffemodel of VGG-16
    or MobileNet, a .pth of torchvision's VGG-16 or MobileNetV2, an .npz of MobileNetV2. Of TensorFlow, any SSD: a
    .tflite, a frozen .pb, the folder of a SavedModel; what is no network of ours stays a graph, which is not trained.
    Of TensorFlow.js, a model.json or the manifest of face-api's detector, the files beside it.

    Args:
        file: the foreign files.
        out: folder to write.
        classes: class names of a detector, in its order, as `car,bus`; left out, those its count suggests.
        size: WIDTHxHEIGHT of a detector's input, where its files do not say.
        labels: label map of a detector of TensorFlow's, .txt with a name a line (??? where an id has no class) or
            .pbtxt; left out, the one inside the file, or COCO's names for 80 and 90 ids.
        keep: classes to keep of a detector, as `car,bus`; `voc` keeps VOC's 20 of COCO's, under VOC's names.
        whole: leave fc6 and fc7 of a VGG-16 classifier whole, for ssd300-vgg16-full; else they are subsampled.
    """
    from singleshot.commands.import_weights import import_files

    width, _, height = (size or "").partition("x")
    if size is not None and not (size.isascii() and width.isdecimal() and height.isdecimal()):
        raise RequestError(f"--size is WIDTHxHEIGHT such as 300x300, got {size!r}")
    size_hw = (int(height), int(width)) if size is not None else None
    named, kept = ([name.strip() for name in text.split(",")] if text else None for text in (classes, keep))
    print(import_files(file, out, class_names=named, size_hw=size_hw, keep=kept, whole=whole, labels=labels))
    return 0
