"""`ssd export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from singleshot.commands.options import FLAT, ExportOptions


def export(options: Annotated[ExportOptions, FLAT], *, json: Path | None = None) -> int:
    """Turn a model into a folder that an engine runs without torch, verified against its source.

    Args:
        json: file for what was measured.
    """
    from singleshot.commands.export import export_model
    from singleshot.console import remarks, results, stages
    from singleshot.files import require_output, write_json

    require_output(json, "--json", options.inputs)
    stderr = remarks()
    with stages(stderr) as on_stage:
        exported = export_model(options, on_stage=on_stage)
    if not exported.trained:
        stderr.print(
            f"{options.model} has no weights here: seeded ones were taken, which detect nothing but take as long"
        )
    if exported.accuracy_drop is not None:
        results().print(str(exported.accuracy_drop))
    results().print(f"{exported.differences}\n{options.out}: {exported.size / 1e6:.1f} MB")
    write_json(json, exported.to_dict())
    return 0
