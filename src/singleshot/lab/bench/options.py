"""What a user may ask of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from singleshot.errors import RequestError

DEFAULT_MODELS = ("ssd300-vgg16", "ssdlite320-mobilenetv2")


@dataclass(frozen=True)
class BenchOptions:
    """Of `ssd bench`.

    Attributes:
        against: `torchvision`, `torchvision-best` (channels-last, bf16, compiled), `onnxruntime`, `opencv`, `openvino`
            (torchvision's networks on them), `fasterrcnn`, `ultralytics`; separated by commas or repeated; `none` for
            ours alone, which takes seconds.
        threads: cores for everybody.
        rounds: measurements of each.
        data: a labelled set: how many of its files a second go from the disk to boxes.
        split: of it; then the accuracy of models with weights is measured, too.
        limits: also measure how fast the machine convolves at best, how near each network comes, and its backbone,
            extra maps and heads apart.
        cold: also measure seconds and memory of fresh processes.
        augmentation: measure, instead of all this, how fast `--data` is decoded and augmented for training on one core.
        loaded: measure although other programs keep the machine busy, which is refused otherwise.
    """

    against: Annotated[tuple[str, ...], Parameter(negative=(), show_default=",".join)] = ("torchvision",)
    threads: int = 2
    rounds: int = 30
    data: str | None = None
    split: str | None = None
    limits: Annotated[bool, Parameter(negative=())] = False
    cold: Annotated[bool, Parameter(negative=())] = False
    augmentation: Annotated[bool, Parameter(negative=())] = False
    loaded: Annotated[bool, Parameter(negative=())] = False

    def __post_init__(self) -> None:
        if self.threads < 1 or self.rounds < 1:
            raise RequestError(f"threads and rounds must be at least 1, got {self.threads} and {self.rounds}")

    @property
    def peers(self) -> list[str]:
        """Names of the peers."""
        return [name for item in self.against for name in item.split(",") if name not in {"", "none"}]
