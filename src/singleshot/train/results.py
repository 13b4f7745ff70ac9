"""What a run leaves behind: model folders with their cards, and the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.evaluate.protocols import Evaluation, evaluate
from singleshot.report.page import ReportContent, write_report
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.train.lr_finder import read_rate_search
from singleshot.train.plan import Plan
from singleshot.train.run_log import METRICS, RunLog, read_metrics
from singleshot.types import Detections
from singleshot.weights.build import save_network
from singleshot.weights.folder import read_folder


def keep_model(plan: Plan, name: str, step: int, validation: Evaluation | None, *, stopped: bool = False) -> None:
    """Write the model's present weights to the run's `last/` or `best/`; `stopped`: by a signal, before its end."""
    origin = provenance(plan, step) | ({"stopped": True} if stopped else {})
    card = model_card(plan, step, validation)
    save_network(plan.folder / name, plan.model, card=card, provenance=origin, learnt=plan.learnt)


def is_finished(folder: Path) -> bool:
    """Whether the run in this folder came to its end: it has a `last/`, and not that of a stopped run."""
    last = folder / "last"
    return last.is_dir() and not read_folder(last).provenance.get("stopped", False)


def provenance(plan: Plan, step: int) -> dict[str, Any]:
    """What a model was trained on and how, for its config.json."""
    names, labels = plan.train_set.class_names, plan.train_set.labels
    objects = dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))
    return {
        "singleshot": metadata.version("singleshot"),
        "data": list(plan.data),
        "train_split": plan.options.train_split,
        "classes": plan.options.classes,
        "pictures": len(plan.train_set),
        "objects": objects,
        "recipe": plan.resume_values()["recipe"],
        "updates": step,
        "seed": plan.options.seed,
        "precision": plan.precision,
    }


def model_card(plan: Plan, step: int, validation: Evaluation | None) -> str:
    """The model's README: its classes, training data, settings and validation figures."""
    spec = plan.model.spec
    lines = [
        f"# {spec.name}",
        "",
        f"Detects: {', '.join(spec.class_names)}.",
        "",
        f"Trained for {step} of {plan.steps} steps of {plan.recipe.batch_size} images on {len(plan.train_set)} "
        f"images with {len(plan.train_set.labels)} objects, recipe `{plan.recipe.name}`, seed {plan.options.seed}.",
        "",
        f"Input {spec.input_size_hw[1]}x{spec.input_size_hw[0]}, {len(plan.model.default_boxes)} default boxes.",
        "",
        "## Figures",
        "",
    ]
    if validation is None or plan.val_set is None:
        reason = "the run had no validation split" if plan.val_set is None else "the run was stopped before"
        lines.append(f"Not validated: {reason}.")
        return "\n".join(lines) + "\n"
    lines += [
        f"Protocol {validation.protocol}, {len(plan.val_set)} validation images (used to choose `best/`: "
        "not a test figure).",
        "",
    ]
    if validation.proposals is not None:
        return "\n".join([*lines, "```", *validation.proposals.lines(), "```"]) + "\n"
    lines += ["| class | AP |", "|---|---|"]
    lines += [f"| {name} | {'-' if ap is None else f'{ap:.3f}'} |" for name, ap in validation.per_class.items()]
    lines.append(f"| **mean** | {'-' if validation.mean_ap is None else f'{validation.mean_ap:.3f}'} |")
    return "\n".join(lines) + "\n"


def write_run_report(plan: Plan, validation: Evaluation | None, log: RunLog, remarks: Sequence[str] = ()) -> Path:
    """Write `report.html`: settings, losses, and how the best model does on the validation set.

    Args:
        plan: of the run.
        validation: the last one, for a run without `best/`.
        log: tells how far the evaluation is.
        remarks: on the run as a whole, put before the plan's notes.
    """
    detections = None
    if plan.val_set is not None and (plan.folder / "best").is_dir():
        count = log.counter("evaluating best/ for the report", len(plan.val_set))
        detector = Detector.load(plan.folder / "best", device=str(plan.device), backbone=plan.backbone)
        detections = detect_in_set(detector, plan.val_set, on_image=count)
        validation = evaluate(plan.val_set, detections, protocol=plan.protocol)
    return _write_report(plan, (*remarks, *plan.notes), validation, detections)


def write_stopped_report(plan: Plan, validation: Evaluation | None, step: int) -> Path:
    """Write `report.html` of a run that was stopped, with its last validation: nothing is evaluated for it."""
    note = f"stopped after step {step} of {plan.steps}; the same command with --resume goes on"
    return _write_report(plan, (note, *plan.notes), validation, None)


def _write_report(
    plan: Plan, notes: Sequence[str], validation: Evaluation | None, detections: Sequence[Detections] | None
) -> Path:
    path = plan.folder / "report.html"
    content = ReportContent(
        title=f"{plan.model.spec.name} on {', '.join(plan.data)}",
        command=" ".join(["ssd", *sys.argv[1:]]),
        notes=notes,
        box_recall=plan.box_recall,
        configuration={**plan.circumstances(), **plan.settings.table()},
        rate_search=read_rate_search(plan.folder),
        history=read_metrics(plan.folder / METRICS),
        evaluation=validation,
        annotations=plan.val_set,
        detections=detections,
    )
    write_report(path, content)
    return path
