"""`ssd weights import`: foreign files become a model folder, or a backbone to start a training from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save as format_tensors
from torch import Tensor

from singleshot.errors import ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.models.vgg import FULL
from singleshot.spec import ModelSpec
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.bounds import require_bounds
from singleshot.weights.build import fill, save_network
from singleshot.weights.classes import cut
from singleshot.weights.importers.caffe import read_base
from singleshot.weights.importers.detectors import detector_of_caffe, detector_of_state
from singleshot.weights.importers.tensorflow import read_mobilenetv2
from singleshot.weights.importers.torch_file import read_torch_file
from singleshot.weights.importers.torchvision import from_torchvision
from singleshot.weights.replace import replaced_folder

BASE = "base.safetensors"


def import_files(
    files: Sequence[Path],
    out: Path,
    *,
    class_names: Sequence[str] | None = None,
    size_hw: tuple[int, int] | None = None,
    keep: Sequence[str] | None = None,
    whole: bool = False,
) -> str:
    """Read foreign weights and write them to the folder `out`; returns a line that says what it is and how to use it.

    A `.prototxt` with its `.caffemodel`, or a `.pth` of a project that `detectors` knows, is a whole detector and
    becomes a model folder. Another file alone is a backbone: a `.caffemodel` or `.pth` of a classifier, an `.npz` of
    MobileNetV2; it becomes `base.safetensors` for `ssd train --init`.

    Args:
        files: what to read.
        out: folder to write.
        class_names: of a detector, in its order; left out, those that their number suggests.
        size_hw: input size of a detector whose files do not say.
        keep: the classes to keep of a detector, the others are cut off; see `classes.cut`.
        whole: leave fc6 and fc7 of a VGG-16 classifier whole, for the backbone `vgg16-full`.

    Raises:
        RequestError: files of another kind or number; the folder cannot be written to; nothing to cut.
        UnknownNameError: a class to keep that the detector does not have.
        ModelError: a file is damaged or holds another network; MachineError: the disk is full.
    """
    pair = _required_files(files)
    file, detector = files[0], None
    state: dict[str, Tensor] = {}
    if pair is not None:
        files = pair
        detector = detector_of_caffe(*pair, class_names, size_hw=size_hw)
    elif file.suffix in {".pth", ".pt"}:
        state = read_torch_file(file)
        detector = detector_of_state(state, class_names, size_hw=size_hw, origin=str(file))
    if detector is not None:
        if whole:
            raise RequestError(f"{files[-1].name} is a detector; --whole is for a VGG-16 classifier's fc6 and fc7")
        return _write_detector(*detector, files, out, keep)
    if class_names or keep or size_hw:
        raise RequestError(f"{file.name} is a classifier's backbone: it has neither classes nor a size to choose")
    return _write_backbone(file, state, out, whole=whole)


def _required_files(files: Sequence[Path]) -> tuple[Path, Path] | None:
    """Caffe's two files in their order, or None for one file of another kind.

    Raises:
        RequestError: another number of files, or one that is none.
    """
    by_suffix = {file.suffix: file for file in files}
    is_pair = len(files) == 2 and by_suffix.keys() == {".prototxt", ".caffemodel"}
    if len(files) != 1 and not is_pair:
        names = ", ".join(file.name for file in files) or "nothing"
        raise RequestError(f"give a .prototxt with its .caffemodel, or one other file; got {names}")
    for file in files:
        if not file.exists():
            raise RequestError(f"there is no file {file}")
        if not file.is_file():
            raise RequestError(f"{file} is no ordinary file")
    return (by_suffix[".prototxt"], by_suffix[".caffemodel"]) if is_pair else None


def _write_backbone(file: Path, state: Mapping[str, Tensor], out: Path, *, whole: bool) -> str:
    """`base.safetensors` in its folder; returns how to use it."""
    backbone = _read_backbone(file, state, whole=whole)
    fc6 = backbone.get("backbone.fc6.convolution.weight")
    if whole and (fc6 is None or fc6.shape[-1] != FULL.kernel):
        raise RequestError(f"{file.name} has no fc6 of 7x7; --whole is for a VGG-16 classifier's fc6 and fc7")
    content = format_tensors({name: tensor.contiguous() for name, tensor in backbone.items()})
    with replaced_folder(out) as beside:
        (beside / BASE).write_bytes(content)
        (beside / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  {BASE}\n")
    return f"{len(backbone)} tensors of a backbone from {file}; use them by: ssd train DATA --init {out / BASE}"


def _write_detector(
    project: str,
    spec: ModelSpec,
    state: Mapping[str, Tensor],
    files: Sequence[Path],
    out: Path,
    keep: Sequence[str] | None,
) -> str:
    require_bounds(spec, str(files[0]))
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise ModelError(f"{files[-1]}: {name} would hold values that are not finite")
    model = SSD(spec)
    fill(model, state, origin=str(files[-1]))
    if keep is not None:
        model = cut(model, keep)
    spec = model.spec
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    height, width = spec.input_size_hw
    what = f"{spec.name}, {width}x{height} input, {_classes(spec.class_names)}, {len(model.default_boxes)} boxes"
    listed = "\n".join(f"- `{name}`, SHA-256 `{digest}`" for name, digest in sums.items())
    card = f"# {spec.name}\n\nImported from {project}: {what}.\n\n{listed}\n\nNot evaluated here.\n"
    save_network(out, model, card=card, provenance={"imported_from": sums, "project": project})
    return f"{what}; from {project}, imported to {out}; try it by: ssd detect IMAGE --model {out}"


def _classes(names: Sequence[str]) -> str:
    """How many, and the first of them, so that a wrong guess is seen."""
    shown = ", ".join(names[:3])
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({shown}{', ...' if len(names) > 3 else ''})"


def _read_backbone(file: Path, state: Mapping[str, Tensor], *, whole: bool) -> dict[str, Tensor]:
    if file.suffix == ".caffemodel":
        return read_base(file, whole=whole)
    if file.suffix == ".npz":
        return read_mobilenetv2(file)
    if file.suffix in {".pth", ".pt"}:
        variant = SSDLITE320_MOBILENETV2 if "features.18.0.weight" in state else SSD300_VGG16
        return from_torchvision(state, variant.preprocess, whole=whole, origin=str(file))
    raise RequestError(f"{file} is of a kind that is not read: .caffemodel, .npz, .pth and .pt are")
