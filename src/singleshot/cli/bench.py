"""`ssd bench`."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def bench(
    *models: str,
    against: Annotated[tuple[str, ...], Parameter(negative=(), show_default=",".join)] = ("torchvision",),
    threads: int = 2,
    rounds: int = 30,
    data: str | None = None,
    split: str | None = None,
    limits: bool = False,
    cold: bool = False,
    augmentation: bool = False,
    loaded: bool = False,
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """How fast detectors are on this machine, ours beside others, interleaved in one run.

    Every case gets the same image of 375 x 500 in memory and gives final boxes. Ratios are to torchvision's own
    code. Architectures get random weights that are as sure of background as trained ones.

    Args:
        models: architectures, model folders or exported models; left out, `ssd300-vgg16` and `ssdlite320-mobilenetv2`.
        against: `torchvision`, `torchvision-best` (channels-last, bf16, compiled), `onnxruntime`, `opencv`, `openvino`
            (torchvision's networks on them), `fasterrcnn`, `ultralytics`; separated by commas or repeated; `none` for
            ours alone, which takes seconds.
        threads: cores for everybody.
        rounds: measurements of each.
        data: a labelled set: how many of its files a second go from the disk to boxes.
        split: of it; then the accuracy of models with weights is measured, too.
        limits: also measure how fast the machine convolves at best, how near each network comes, and its backbone,
            extra maps and heads apart.
        cold: also measure seconds and memory of fresh processes.
        augmentation: measure, instead of all this, how fast `--data` is decoded and augmented for training on one core.
        loaded: measure although other programs keep the machine busy, which is refused otherwise.
        json: file for all figures.
        plot: file for an image of speed against accuracy.
    """
    from singleshot.console import remarks, results, stages
    from singleshot.files import require_output, write_whole
    from singleshot.lab.bench import report
    from singleshot.lab.bench.bench import DEFAULT_MODELS, Settings, run

    for place, flag in ((json, "--json"), (plot, "--plot")):
        require_output(place, flag, [name for name in (*models, data) if name is not None])
    if augmentation:
        return _augmentation(data, rounds=rounds, loaded=loaded, json=json)
    names = [name for item in against for name in item.split(",") if name not in {"", "none"}]
    settings = Settings(
        models=models or DEFAULT_MODELS, against=names, threads=threads, rounds=rounds, data=data, split=split,
        limits=limits, cold=cold, loaded=loaded,
    )  # fmt: skip
    with stages(remarks()) as on_stage:
        measured = run(settings, on_stage)
    for line in report.lines(measured):
        results().print(line)
    if json is not None:
        write_whole(json, json_format.dumps(asdict(measured), indent=1, allow_nan=False) + "\n")
    if plot is not None:
        report.plot(measured.rows, measured.accuracy, plot)
    return 0


def _augmentation(data: str | None, *, rounds: int, loaded: bool, json: Path | None) -> int:
    from singleshot.console import remarks, results, stages
    from singleshot.errors import RequestError
    from singleshot.files import write_whole
    from singleshot.lab.bench.augmentation import augmentation_rates
    from singleshot.lab.bench.machine import require_quiet

    if data is None:
        raise RequestError("--augmentation needs images with ground-truth boxes: --data DATA")
    if rounds < 1:
        raise RequestError(f"rounds must be at least 1, got {rounds}")
    if not loaded:
        require_quiet()
    with stages(remarks()) as on_stage:
        rates = augmentation_rates(
            data, rounds=rounds, on_round=lambda done: on_stage(f"timing: round {done} of {rounds}")
        )
    out = results()
    for name in ("exact", "fast", "torchvision", "decoded"):
        out.print(f"{name}: {getattr(rates, name):.0f} images/s on one core")
    out.print(
        f"times as fast as torchvision: fast {rates.ratio_to_torchvision:.1f}, "
        f"exact {rates.exact_ratio_to_torchvision:.1f}"
    )
    if json is not None:
        write_whole(json, json_format.dumps({"data": data, "rounds": rounds, **asdict(rates)}, indent=1) + "\n")
    return 0
