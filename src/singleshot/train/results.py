"""What a run leaves behind: model folders with an honest card."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np

from singleshot.evaluate.protocols import Evaluation
from singleshot.train.plan import Plan
from singleshot.weights.build import save_network


def keep_model(plan: Plan, name: str, step: int, validation: Evaluation | None) -> None:
    """Write the model as it is now to the run's `last/` or `best/`, replacing what is there."""
    save_network(
        plan.folder / name, plan.model, card=model_card(plan, step, validation), provenance=provenance(plan, step)
    )


def provenance(plan: Plan, step: int) -> dict[str, Any]:
    """Where a model comes from, for its config.json."""
    names, labels = plan.train_set.class_names, plan.train_set.labels
    objects = dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))
    return {
        "singleshot": metadata.version("singleshot"),
        "data": list(plan.data),
        "train_split": plan.options.train_split,
        "classes": plan.options.classes,
        "pictures": len(plan.train_set),
        "objects": objects,
        "recipe": plan.settings()["recipe"],
        "updates": step,
        "seed": plan.options.seed,
        "precision": plan.precision,
    }


def model_card(plan: Plan, step: int, validation: Evaluation | None) -> str:
    """The model's README: what it detects, what it learnt from, how good it is and on what."""
    spec = plan.model.spec
    lines = [
        f"# {spec.name}",
        "",
        f"Detects: {', '.join(spec.class_names)}.",
        "",
        f"Trained for {step} of {plan.steps} updates of {plan.recipe.batch_size} images on {len(plan.train_set)} "
        f"images with {len(plan.train_set.labels)} objects, recipe `{plan.recipe.name}`, seed {plan.options.seed}.",
        "",
        f"Input {spec.input_size_hw[1]}x{spec.input_size_hw[0]}, {len(plan.model.default_boxes)} default boxes.",
        "",
        "## Figures",
        "",
    ]
    if validation is None or plan.val_set is None:
        lines.append("Not validated: the run had no validation split.")
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
