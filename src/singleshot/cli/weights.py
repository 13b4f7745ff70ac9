"""`ssd weights`."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from singleshot.errors import RequestError

app = App(name="weights", help="Bring in weights of other projects.")


@app.command(name="import")
def import_(*file: Path, out: Path, classes: list[str] | None = None, size: str | None = None) -> int:
    """Turn foreign weights into a model folder, or into a base to start a training from.

    A Caffe detector is two files, .prototxt and .caffemodel. One file alone is a base: a .caffemodel of VGG-16 or
    MobileNet, a .pth of torchvision's VGG-16 or MobileNetV2, an .npz of MobileNetV2.

    Args:
        file: the foreign files.
        out: folder to write.
        classes: class names of a detector, in its order; left out, those its count suggests.
        size: WIDTHxHEIGHT of a detector's input, where the prototxt does not say.
    """
    from singleshot.weights.importing import import_files

    width, _, height = (size or "").partition("x")
    if size is not None and not (width.isdecimal() and height.isdecimal()):
        raise RequestError(f"--size is WIDTHxHEIGHT such as 300x300, got {size!r}")
    size_hw = (int(height), int(width)) if size is not None else None
    print(import_files(file, out, class_names=classes, size_hw=size_hw))
    return 0
