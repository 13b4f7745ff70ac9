"""The page a run ends with."""

from __future__ import annotations

from pathlib import Path

from singleshot.evaluate.protocols import Evaluation
from singleshot.report.page import ReportContent, write_report
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.train.journal import read_history
from singleshot.train.plan import Plan
from singleshot.train.rate_finder import read_search


def write_run_report(plan: Plan, validation: Evaluation | None, *, command: str) -> Path:
    """Write `report.html`: what was learnt, how it went, and how the best model does on the validation set."""
    path = plan.folder / "report.html"
    detections = None
    if plan.val_set is not None and (plan.folder / "best").is_dir():
        from singleshot.evaluate.protocols import evaluate

        detections = detect_in_set(Detector.load(plan.folder / "best", device=str(plan.device)), plan.val_set)
        validation = evaluate(plan.val_set, detections, protocol=plan.protocol)
    write_report(
        path,
        ReportContent(
            title=f"{plan.model.spec.name} on {', '.join(plan.data)}",
            command=command,
            notes=plan.notes,
            coverage=plan.coverage,
            configuration={**plan.circumstances(), **plan.settings()["recipe"]},
            rate_search=read_search(plan.folder),
            history=read_history(plan.folder / "metrics.jsonl"),
            evaluation=validation,
            annotations=plan.val_set,
            detections=detections,
        ),
    )
    return path
