"""Where a run starts: afresh, or at its newest checkpoint if the settings are still those it was started with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from singleshot.errors import RequestError, first_of
from singleshot.files import parse_json, read_regular
from singleshot.spec import ModelSpec, migrate_spec
from singleshot.train import checkpoint
from singleshot.train.plan import Plan
from singleshot.train.recipe import Recipe, migrate_recipe
from singleshot.train.run_log import METRICS, SETTINGS, read_metrics
from singleshot.train.settings import Settings
from singleshot.weights.folder import SUMS

OLD_KEYS = {"pictures": "images"}
"""Settings by their names in version 0.1.0."""
LARGEST_SETTINGS = 2**20  # bytes
LONGEST = 40
"""Characters of a value in a message."""
MOST_SHOWN = 5
"""Differences that a message names."""
RESULTS = ("best", "last", "report.html")
"""What a run leaves in its folder, and another would replace."""


def starting_state(plan: Plan, say: Callable[[str], None]) -> checkpoint.RunState:
    """Step 0, or with --resume the newest checkpoint, whose tensors are put into the plan's model and optimizer.

    Raises:
        RequestError: the folder holds another run, or its checkpoint has other settings; what differs is named.
    """
    settings = plan.resume_values()
    fresh = checkpoint.RunState(0, settings)
    if not plan.options.resume:
        require_unused(plan.folder)
        return fresh
    latest = checkpoint.load_latest(plan.folder / "checkpoints")
    if latest is None:
        if not _same_run(plan):
            _require_no_results(plan.folder)
        say(f"no checkpoint in {plan.folder}: starting afresh")
        return fresh
    for line in latest.damaged:
        say(f"passed over: {line}")
    differing = [
        _with_source(difference, plan.settings)
        for difference in differences({"parts": 1} | completed(latest.state.settings), settings)
    ]
    if differing:
        raise RequestError(
            f"cannot resume {plan.folder}: {first_of(differing, MOST_SHOWN, joint='; ')}. Resume a run with the "
            "command that started it and --resume; to train a model further, give it as --model, and another --out"
        )
    checkpoint.restore(latest, plan.model, plan.optimizer, plan.ema)
    say(f"going on after step {latest.state.step} of {plan.steps}")
    return latest.state


def _same_run(plan: Plan) -> bool:
    """Whether the folder is that of a run with these settings that was stopped before its first checkpoint."""
    try:
        before = parse_json(read_regular(plan.folder / SETTINGS, LARGEST_SETTINGS))
    except (OSError, ValueError):
        return False
    return before == json.loads(json.dumps(plan.settings.to_json())) and not (plan.folder / "last").exists()


def require_unused(folder: Path) -> None:
    """Refuse a folder that holds another run, or is a model.

    Raises:
        RequestError: it does, or is; its checkpoints or results are named.
    """
    if (folder / SUMS).exists():
        raise RequestError(f"{folder} is a model folder, which the run's files would be mixed with: give another --out")
    if checkpoint.checkpoints(folder / "checkpoints"):
        raise RequestError(f"{folder} holds a run already: --resume goes on with it, --out begins another")
    _require_no_results(folder)


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of any version under today's names; fields of `model` and `recipe` that came later have defaults."""
    spec_defaults = {field.name: field.default for field in fields(ModelSpec) if field.default is not MISSING}
    defaults = {"model": spec_defaults, "recipe": asdict(Recipe())}
    if isinstance(settings.get("recipe"), dict):
        settings = settings | {"recipe": migrate_recipe(settings["recipe"])}
    if "model" in settings:
        settings = settings | {"model": migrate_spec(settings["model"])}
    return {
        OLD_KEYS.get(name, name): defaults[name] | value if name in defaults and isinstance(value, dict) else value
        for name, value in settings.items()
    }


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What differs between two trees of plain values, one line each: `recipe.seed was 0, is 1`."""
    before, now = (json.loads(json.dumps(value)) for value in (before, now))  # tuples and lists are the same
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line
            for key in keys
            for line in differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if before == now else [f"{where} was {_shortened(before)}, is {_shortened(now)}"]


def _with_source(difference: str, settings: Settings) -> str:
    """The same line, with where today's value comes from: `recipe.batch_size was 8, is 4, yours (--batch-size)`."""
    setting = settings.sources.get(difference.partition(" ")[0].removeprefix("recipe."))
    return f"{difference}, {setting.source}" if setting is not None and setting.source else difference


def _require_no_results(folder: Path) -> None:
    metrics = folder / METRICS
    if metrics.is_file() and metrics.stat().st_size and not any("step" in row for row in read_metrics(metrics)):
        raise RequestError(f"{metrics} was not written by ssd train and would be replaced: give another --out")
    results = [name for name in RESULTS if (folder / name).exists()]
    if results:
        raise RequestError(f"{folder} holds {' and '.join(results)} of another run: give another --out")


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
