"""Golden 2: Caffe's FindMatches and MatchBBox, every scene and every mode it holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import arrays, default_boxes, index, needs_golden
from singleshot.ssd.matching import match

pytestmark = needs_golden

# What each case of the README asks for; `thrNNN` cases state their threshold in their name.
MODES = {
    "perpred_diff": {},
    "perpred_nodiff": {},
    "bipartite": {"bipartite_only": True},
    "ignorecross": {"ignore_cross_boundary": True},
}


def scenes() -> list[dict]:
    return index("2_matching/scenes.json")


def options(case: str) -> dict:
    if case.startswith("thr"):
        return {"iou_threshold": int(case[3:]) / 100}
    return MODES[case]


def ground_truth_of(rows: np.ndarray, *, difficult: bool) -> torch.Tensor:
    kept = rows if difficult else rows[rows[:, 7] == 0]
    return torch.from_numpy(kept[:, 3:7])


@pytest.mark.parametrize("scene", scenes(), ids=lambda scene: scene["name"])
def test_indices_equal_caffes_and_overlaps_to_one_millionth(scene: dict) -> None:
    golden = arrays(f"2_matching/{scene['name']}.npz")
    boxes = torch.from_numpy(default_boxes(scene["priors"])["boxes"])
    cases = [name.removesuffix("_idx") for name in golden if name.endswith("_idx")]
    assert cases
    for case in cases:
        ground_truth = ground_truth_of(golden["gt"], difficult=case != "perpred_nodiff")
        matches = match(boxes, ground_truth[None], torch.ones(1, len(ground_truth), dtype=torch.bool), **options(case))
        np.testing.assert_array_equal(matches.ground_truth[0].numpy(), golden[f"{case}_idx"], err_msg=case)
        if f"{case}_overlap" in golden:  # the same float32 operations in the same order: 1e-6 leaves room for others
            np.testing.assert_allclose(
                matches.ious[0].numpy(), golden[f"{case}_overlap"], rtol=0, atol=1e-6, err_msg=case
            )


def test_a_batch_of_all_scenes_gives_what_each_gives_alone() -> None:
    by_boxes: dict[str, list[np.ndarray]] = {}
    for scene in scenes():
        by_boxes.setdefault(scene["priors"], []).append(arrays(f"2_matching/{scene['name']}.npz"))
    for name, goldens in by_boxes.items():
        longest = max(len(golden["gt"]) for golden in goldens)
        ground_truth = torch.full((len(goldens), longest, 4), torch.nan)
        valid = torch.zeros(len(goldens), longest, dtype=torch.bool)
        for i, golden in enumerate(goldens):
            ground_truth[i, : len(golden["gt"])] = torch.from_numpy(golden["gt"][:, 3:7])
            valid[i, : len(golden["gt"])] = True
        matches = match(torch.from_numpy(default_boxes(name)["boxes"]), ground_truth, valid)
        np.testing.assert_array_equal(matches.ground_truth.numpy(), np.stack([g["perpred_diff_idx"] for g in goldens]))
