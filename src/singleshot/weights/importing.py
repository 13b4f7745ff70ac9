"""`ssd weights import`: foreign files become a model folder, or a base to start a training from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from safetensors.torch import save as format_tensors

from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.spec import SSD300_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.build import fill, save_network
from singleshot.weights.caffe import import_caffe, read_base
from singleshot.weights.replace import replaced_folder
from singleshot.weights.tensorflow import read_mobilenetv2
from singleshot.weights.torchvision import from_torchvision, read_torch_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

BASE = "base.safetensors"


def import_files(
    files: Sequence[Path],
    out: Path,
    *,
    class_names: Sequence[str] | None = None,
    size_hw: tuple[int, int] | None = None,
) -> str:
    """Read foreign weights and write them to the folder `out`; returns a line that says what it is and how to use it.

    A `.prototxt` with its `.caffemodel` is a whole detector and becomes a model folder. One file alone is a base: a
    `.caffemodel` of a classifier, a `.pth` of torchvision's VGG-16 or MobileNetV2, an `.npz` of MobileNetV2; it becomes
    `base.safetensors` for `ssd train --init`.

    Raises:
        RequestError: files of another kind or number; the folder cannot be written to.
        ModelError: a file is damaged or holds another network; MachineError: the disk is full.
    """
    by_kind = {file.suffix: file for file in files}
    if len(files) == 2 and by_kind.keys() == {".prototxt", ".caffemodel"}:
        return _import_detector(by_kind[".prototxt"], by_kind[".caffemodel"], out, class_names, size_hw)
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "nothing"
        raise RequestError(f"give a .prototxt with its .caffemodel, or one file of a base; got {names}")
    base = _read_base(files[0])
    content = format_tensors({name: tensor.contiguous() for name, tensor in base.items()})
    with replaced_folder(out) as beside:
        (beside / BASE).write_bytes(content)
        (beside / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  {BASE}\n")
    return f"{len(base)} tensors of a base from {files[0]}; use them by: ssd train DATA --init {out / BASE}"


def _import_detector(
    prototxt: Path,
    caffemodel: Path,
    out: Path,
    class_names: Sequence[str] | None,
    size_hw: tuple[int, int] | None,
) -> str:
    spec, state = import_caffe(prototxt, caffemodel, class_names, size_hw=size_hw)
    model = SSD(spec)
    fill(model, state, origin=str(caffemodel))
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (prototxt, caffemodel)}
    height, width = spec.input_size_hw
    what = f"{spec.name}, {width}x{height} input, {len(spec.class_names)} classes, {len(model.default_boxes)} boxes"
    listed = "\n".join(f"- `{name}`, SHA-256 `{digest}`" for name, digest in sums.items())
    card = f"# {spec.name}\n\nImported from Caffe: {what}.\n\n{listed}\n\nNot evaluated here.\n"
    save_network(out, model, card=card, provenance={"imported_from": sums})
    return f"{what}, imported to {out}"


def _read_base(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise RequestError(f"there is no file {file}")
    if file.suffix == ".caffemodel":
        return read_base(file)
    if file.suffix == ".npz":
        return read_mobilenetv2(file).base
    if file.suffix in {".pth", ".pt"}:
        state = read_torch_file(file)
        variant = SSDLITE320_MOBILENETV2 if "features.18.0.weight" in state else SSD300_VGG16
        return from_torchvision(state, variant.preprocess, origin=str(file))
    raise RequestError(f"{file} is of a kind that is not read: .caffemodel, .npz, .pth and .pt are")
