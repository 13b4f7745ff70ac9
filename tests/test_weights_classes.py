from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from singleshot.errors import UnknownNameError
from singleshot.models.ssd import SSD
from singleshot.spec import ModelSpec
from singleshot.variants import SSD300_MOBILENETV1, SSDLITE320_MOBILENETV2
from singleshot.weights.classes import keep_classes


@pytest.mark.parametrize("spec", [SSDLITE320_MOBILENETV2, replace(SSD300_MOBILENETV1, width=0.125)])
def test_logits_of_the_kept_classes_and_all_offsets_stay(spec: ModelSpec) -> None:
    model = SSD(spec.with_input_size(64, 64), seed=3).eval()
    smaller = keep_classes(model, ["cat", "bus"])
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = model(image), smaller(image)
    columns = [0, 1 + spec.class_names.index("cat"), 1 + spec.class_names.index("bus")]
    torch.testing.assert_close(after.logits, before.logits[..., columns])
    torch.testing.assert_close(after.offsets, before.offsets)
    assert smaller.spec.class_names == ("cat", "bus")


def test_a_class_that_the_model_does_not_have_is_refused() -> None:
    model = SSD(SSDLITE320_MOBILENETV2.with_input_size(64, 64))
    with pytest.raises(UnknownNameError, match="did you mean cat"):
        keep_classes(model, ["cta"])
