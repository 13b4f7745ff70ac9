"""`ssd export`."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def export(
    model: str | None = None,
    *,
    out: Path,
    engine: Annotated[str, Parameter(name="--format")] = "openvino",
    precision: str = "fp32",
    calibrate: str | None = None,
    most_lost: float | None = None,
    outputs: str | None = None,
    raw: bool = False,
    json: Path | None = None,
) -> int:
    """Turn a model into a folder that an engine runs without torch, verified against its source.

    Args:
        model: a model folder, a shipped model or an architecture; left out, the shipped default.
        out: folder to write.
        engine: `openvino` (fastest on processors); `onnx` (runs with `pip install onnxruntime`); `torch` and
            `aotinductor` are for your own programs.
        precision: `fp32`; of openvino also `bf16`: half the size, faster where the processor has bf16, computed in fp32
            where it has not; and `int8`: a quarter, fastest.
        calibrate: a labelled data set: int8 measures its scales on the training split, and the mAP before and after is
            told of the validation split, else of the test split.
        most_lost: points of mAP, such as 0.5, that bf16 or int8 may cost on that data: the layers that hurt most stay
            at a higher precision until it holds. Left out, an export that costs more than 2 is refused.
        outputs: `detections`, the default, with NMS in the graph; `raw`, without it, for engines that have their own;
            `rows`, raw behind what classic ports give: one array of C + 4 + 8 numbers a default box, which are class
            scores, offsets, the box and its variances.
        raw: the same as `--outputs raw`.
        json: file for what was measured.
    """
    from singleshot.commands.export import export_model
    from singleshot.console import remarks, results
    from singleshot.errors import RequestError
    from singleshot.files import require_output, write_whole

    require_output(json, "--json", [name for name in (model, calibrate) if name is not None])
    if raw and outputs not in {None, "raw"}:
        raise RequestError(f"--raw is --outputs raw, which --outputs {outputs} contradicts: give one of them")
    outputs = outputs or ("raw" if raw else "detections")
    people = remarks()
    with people.status("") as status:
        done = export_model(
            model,
            out,
            engine=engine,
            precision=precision,
            calibrate=calibrate,
            most_lost=None if most_lost is None else most_lost / 100,
            outputs=outputs,
            on_stage=status.update if people.is_terminal else people.print,
        )
    if not done.trained:
        remarks().print(f"{model} has no weights here: seeded ones were taken, which detect nothing but take as long")
    if done.judgement is not None:
        results().print(str(done.judgement))
    results().print(f"{done.differences}\n{done.folder}: {done.size / 1e6:.1f} MB")
    if json is not None:
        figures = {
            "folder": str(done.folder),
            "format": engine,
            "precision": precision,
            "outputs": outputs,
            "bytes": done.size,
            **asdict(done.differences),
        }
        if done.judgement is not None:
            judged = done.judgement
            figures |= {"mAP_before": judged.before, "mAP_after": judged.after, "spared": list(judged.spared)}
            figures |= {"mAP_pictures": judged.images, "mAP_split": judged.split}
        write_whole(json, json_format.dumps(figures, indent=1, allow_nan=False) + "\n")
    return 0
