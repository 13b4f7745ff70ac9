"""`ssd bench`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from singleshot.lab.bench.options import DEFAULT_MODELS, BenchOptions


def bench(
    *models: str,
    options: Annotated[BenchOptions, Parameter(name="*")] = BenchOptions(),  # noqa: B008
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """How fast detectors are on this machine, ours beside others, interleaved in one run.

    Every case gets the same image of 375 x 500 in memory and gives final boxes. Ratios are to torchvision's own
    code. Architectures get random weights that are as sure of background as trained ones.

    Args:
        models: architectures, model folders or exported models; left out, `ssd300-vgg16` and `ssdlite320-mobilenetv2`.
        json: file for all figures.
        plot: file for an image of speed against accuracy.
    """
    from singleshot.console import remarks, results, stages
    from singleshot.files import require_output, write_json, write_whole
    from singleshot.lab.bench import report
    from singleshot.lab.bench.bench import run
    from singleshot.report.charts import require_matplotlib

    for place, flag in ((json, "--json"), (plot, "--plot")):
        require_output(place, flag, [name for name in (*models, options.data) if name is not None])
    if plot is not None:
        require_matplotlib()
    if options.augmentation:
        return _augmentation(options, json)
    with stages(remarks()) as on_stage:
        measured = run(models or DEFAULT_MODELS, options, on_stage)
    for line in report.lines(measured):
        results().print(line)
    write_json(json, asdict(measured))
    if plot is not None:
        write_whole(plot, report.plot(measured.rows, measured.accuracy))
    return 0


def _augmentation(options: BenchOptions, json: Path | None) -> int:
    from singleshot.console import remarks, results, stages
    from singleshot.errors import RequestError
    from singleshot.files import write_json
    from singleshot.lab.bench.augmentation import augmentation_rates
    from singleshot.lab.bench.machine import require_quiet

    if options.data is None:
        raise RequestError("--augmentation needs images with ground-truth boxes: --data DATA")
    if not options.loaded:
        require_quiet()
    with stages(remarks()) as on_stage:
        rates = augmentation_rates(
            options.data,
            rounds=options.rounds,
            on_round=lambda done: on_stage(f"timing: round {done} of {options.rounds}"),
        )
    out = results()
    for name in ("exact", "fast", "torchvision", "decoded"):
        out.print(f"{name}: {getattr(rates, name):.0f} images/s on one core")
    out.print(
        f"times as fast as torchvision: fast {rates.ratio_to_torchvision:.1f}, "
        f"exact {rates.exact_ratio_to_torchvision:.1f}"
    )
    write_json(json, {"data": options.data, "rounds": options.rounds, **asdict(rates)})
    return 0
