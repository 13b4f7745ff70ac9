"""Box coding against Caffe's EncodeBBox and DecodeBBox, golden 3.

Tolerance 1e-5, and 1e-6 relative: offsets pass 100 where boxes differ wildly, and one place of float32 there is 8e-6.
Every array that the README documents is compared; an unknown one fails the test.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from golden import GOLDEN, arrays, needs_golden
from singleshot.boxes import area
from singleshot.ssd.coder import decode, encode

CASES = sorted(path.stem for path in (GOLDEN / "3_codec").glob("*.npz"))
NAME = re.compile(
    r"(encode|decode|decode_clip|decode_clip_size|roundtrip)_(CORNER|CENTER_SIZE|CORNER_SIZE)_vit([01])(_varrandom)?"
)
INPUTS = {"priors", "boxes", "loc", "var", "var_random"}
pytestmark = needs_golden


def ours(what, case, variances, options):
    priors = case["priors"]
    if what == "encode":
        return encode(case["boxes"], priors, variances, **options)
    if what == "roundtrip":
        return decode(encode(case["boxes"], priors, variances, **options), priors, variances, **options)
    plain_corners = options["code"] != "center_size" and options["variance_in_target"]
    offsets = case["loc"] * 0.1 if plain_corners else case["loc"]  # as the README says
    decoded = decode(offsets, priors, variances, **options, clip=what != "decode")
    return area(decoded) if what == "decode_clip_size" else decoded


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_codes_are_caffes(name, library):
    case = arrays(f"3_codec/{name}.npz")
    inputs = {key: torch.tensor(case[key]) if library == "torch" else case[key] for key in INPUTS}
    outputs = sorted(case.keys() - INPUTS)
    assert outputs
    for output in outputs:
        found = NAME.fullmatch(output)
        assert found, f"the README knows no {output}"
        what, code, in_target, random = found.groups()
        options = {"code": code.lower(), "variance_in_target": in_target == "1"}
        result = np.asarray(ours(what, inputs, inputs["var_random" if random else "var"], options))
        np.testing.assert_allclose(result, case[output], rtol=1e-6, atol=1e-5, err_msg=output)
