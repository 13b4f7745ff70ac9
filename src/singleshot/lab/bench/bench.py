"""The whole measurement: contestants, whole processes, folders, the machine's limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singleshot.data.classes import only_classes
from singleshot.data.recognise import open_data
from singleshot.errors import RequestError
from singleshot.evaluate.protocols import evaluate
from singleshot.lab.bench import folders, processes, report
from singleshot.lab.bench.ceiling import convolution_rate, copy_rate
from singleshot.lab.bench.contest import Measured, compete
from singleshot.lab.bench.cost import cost
from singleshot.lab.bench.machine import other_load, processor, require_quiet
from singleshot.lab.bench.ours import PRECISIONS, ours
from singleshot.lab.bench.peers import FAMILIES, peers, require_known
from singleshot.lab.bench.stages import stage_milliseconds
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.variants import VARIANTS

DEFAULT_MODELS = ("ssd300-vgg16", "ssdlite320-mobilenetv2")
FOLDER_IMAGES = 400
SHOWN = 0.5
"""The score from which `ssd detect` shows what it finds."""


@dataclass
class Settings:
    """What to measure.

    Attributes:
        models: architectures (seeded weights), model folders or exported models.
        against: peers, keys of `bench.peers.AGAINST`.
        threads: cores for everybody.
        rounds: measurements of each part.
        data: a labelled set whose images the folder's throughput is measured on, and with `split` the accuracy of
            models that have weights.
        split: of it.
        limits: measure the machine's own rates, and base, extra maps and heads apart.
        cold: measure cold starts, too.
        loaded: measure although others use the machine.
    """

    models: Sequence[str] = DEFAULT_MODELS
    against: Sequence[str] = ("torchvision",)
    threads: int = 2
    rounds: int = 30
    data: str | None = None
    split: str | None = None
    limits: bool = False
    cold: bool = False
    loaded: bool = False


def run(settings: Settings, on_stage: Callable[[str], None] = lambda _stage: None) -> Measured:
    """Measure all that is asked for, one thing after another.

    Raises:
        MachineError: it is busy; RequestError: no such model or peer; DataError: data that cannot be used.
    """
    if settings.threads < 1 or settings.rounds < 1:
        raise RequestError(f"threads and rounds must be at least 1, got {settings.threads} and {settings.rounds}")
    require_known(settings.against)
    load = other_load(2.0) if settings.loaded else require_quiet()
    measured = Measured(
        {"processor": processor(), "threads": settings.threads, "rounds": settings.rounds, "other_load": round(load, 2)}
    )
    families = []
    contestants = []
    backends: dict[str, Any] = {}
    for model in settings.models:
        on_stage(f"preparing {model}")
        for contestant, backend in ours(model, threads=settings.threads):
            contestants.append(contestant)
            families.append(contestant.family)
            backends[contestant.name] = backend if model not in VARIANTS else None
    on_stage("preparing the peers")
    everybody = [*peers(settings.against, families, threads=settings.threads), *contestants]
    if settings.limits:
        on_stage("measuring what the machine can do")
        measured.limits = {precision: convolution_rate(precision, threads=settings.threads) for precision in PRECISIONS}
        measured.limits["copy"] = copy_rate()
    rows = compete(everybody, settings.rounds, lambda done: on_stage(f"timing: round {done} of {settings.rounds}"))
    measured.rows = report.values(rows)
    if settings.limits:
        on_stage("timing base, extra maps and heads apart")
        architectures = [name for name in settings.models if name in VARIANTS]
        measured.stages = {name: stage_milliseconds(VARIANTS[name], threads=settings.threads) for name in architectures}
        operations = {name: cost(VARIANTS[name]).operations for name in architectures}
        for row in measured.rows:
            precision = row["name"].rpartition(", ")[2]
            if row["family"] in operations and row["name"].startswith("ours") and precision in measured.limits:
                rate = operations[row["family"]] / row["network_ms"] * 1e3
                row["of_limit"] = rate / measured.limits[precision]
    if settings.data is not None:
        _with_data(settings, measured, backends, on_stage)
    if settings.cold:
        on_stage("starting from nothing")
        measured.cold["ssd detect, default model"] = processes.cold_start(processes.ours())
        for name in FAMILIES:
            measured.cold[f"torchvision {name}"] = processes.cold_start(
                processes.torchvision(name, threads=settings.threads), times=3
            )
    return measured


def _with_data(
    settings: Settings, measured: Measured, backends: dict[str, Any], on_stage: Callable[[str], None]
) -> None:
    assert settings.data is not None
    images = open_data(settings.data, split=settings.split)
    files = [Path(images.path(number)) for number in range(min(FOLDER_IMAGES, len(images)))]
    for name, backend in backends.items():
        if backend is None:
            continue
        if settings.split is not None:
            on_stage(f"accuracy of {name}")
            known = only_classes(images, [one for one in backend.spec.class_names if one in images.class_names])
            found = detect_in_set(Detector(backend, name=name), known)
            measured.accuracy[name] = evaluate(known, found).mean_ap or 0.0
        on_stage(f"a folder of images through {name}")
        detector = Detector(backend, name=name, score=SHOWN)
        measured.folders[name] = folders.images_a_second(folders.ours(detector, files))
    if "torchvision" in settings.against:
        for name, family in FAMILIES.items():
            if any(row["family"] == family for row in measured.rows):
                on_stage(f"a folder of images through torchvision's {name}")
                run_folder = folders.of_torchvision(name, files[:64], threads=settings.threads)
                measured.folders[f"torchvision {name}"] = folders.images_a_second(run_folder, times=3)
