"""`ssd export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def export(
    model: str | None = None,
    *,
    out: Path,
    format: Annotated[Literal["openvino", "onnx", "torch", "aotinductor"], Parameter(name="--format")] = "openvino",  # noqa: A002 the flag's name
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    calibrate: str | None = None,
    max_map_drop: float | None = None,
    outputs: Literal["detections", "raw", "rows"] | None = None,
    raw: Annotated[bool, Parameter(negative=())] = False,
    backbone: str | None = None,
    json: Path | None = None,
) -> int:
    """Turn a model into a folder that an engine runs without torch, verified against its source.

    Args:
        model: a model folder, a shipped model or an architecture; left out, the shipped default.
        out: folder to write.
        format: `openvino` is fastest on processors; `onnx` runs with `pip install onnxruntime`; `torch` and
            `aotinductor` are for your own programs.
        precision: `fp32`; of openvino also `bf16`: half the size, faster where the processor has bf16, computed in fp32
            where it has not; and `int8`: a quarter of the size, fastest.
        calibrate: a labelled data set: int8 measures its scales on the training split; mAP before and after is
            measured on the validation split, else on the test split.
        max_map_drop: points of mAP, such as 0.5, that bf16 or int8 may cost on that data: the layers that hurt most
            stay at a higher precision until it holds. Left out, an export that costs more than 2 is refused.
        outputs: `detections`, the default, with NMS in the graph; `raw`, without it, for engines that have their own;
            `rows`, raw behind what classic ports give: one array of C + 4 + 8 numbers a default box, which are class
            scores, offsets, the box and its variances.
        raw: the same as `--outputs raw`.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
        json: file for what was measured.
    """
    from singleshot.commands.export import ExportOptions, export_model
    from singleshot.console import remarks, results, stages
    from singleshot.errors import RequestError
    from singleshot.files import require_output, write_json

    require_output(json, "--json", [name for name in (model, calibrate) if name is not None])
    if raw and outputs not in {None, "raw"}:
        raise RequestError(f"--raw is --outputs raw, which --outputs {outputs} contradicts: give one of them")
    options = ExportOptions(
        model=model,
        out=out,
        format=format,
        precision=precision,
        calibrate=calibrate,
        max_map_drop=None if max_map_drop is None else max_map_drop / 100,
        backbone=backbone,
        outputs=outputs or ("raw" if raw else "detections"),
    )
    stderr = remarks()
    with stages(stderr) as on_stage:
        exported = export_model(options, on_stage=on_stage)
    if not exported.trained:
        stderr.print(f"{model} has no weights here: seeded ones were taken, which detect nothing but take as long")
    if exported.accuracy_drop is not None:
        results().print(str(exported.accuracy_drop))
    results().print(f"{exported.differences}\n{out}: {exported.size / 1e6:.1f} MB")
    write_json(json, exported.to_dict())
    return 0
