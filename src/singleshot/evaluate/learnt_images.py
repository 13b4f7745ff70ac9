"""How many of the images that a model is judged by it has learnt: its figure on them is too good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LearntOverlap:
    """Images that a model is judged by and that it knows. Each is counted once, in the first row that fits.

    Attributes:
        judged: all images that it is judged by.
        trained_on: the very files are in its training set.
        trained_on_alike: one that looks the same is: the file encoded anew or scaled, or the next frame of a clip.
        ancestors_trained_on: a model that its training started from learnt them, or pictures that look the same.
        validated_on: its training validated on them, and its best epoch was chosen by them.
        training_set: what it was trained on, for people; `""` where that is not recorded.
        ancestors: what the models before it were trained on.
    """

    judged: int
    trained_on: int = 0
    trained_on_alike: int = 0
    ancestors_trained_on: int = 0
    validated_on: int = 0
    training_set: str = ""
    ancestors: str = ""

    def lines(self) -> Iterator[str]:
        """For people, a sentence for each kind that there is."""
        known = f" ({self.training_set})" if self.training_set else ""
        before = f" ({self.ancestors})" if self.ancestors else ""
        for count, be, what, effect in (
            (self.trained_on, ("is", "are"), f"in this model's training set{known}", "the figure flatters"),
            (
                self.trained_on_alike,
                ("looks", "look"),
                f"the same as one in this model's training set{known}, encoded anew or the next frame of a clip",
                "the figure flatters",
            ),
            (
                self.ancestors_trained_on,
                ("is", "are"),
                f"in the training set of a model that this one started from{before}",
                "the figure may flatter",
            ),
            (
                self.validated_on,
                ("is", "are"),
                "in this model's validation set, by which its best epoch was chosen",
                "the figure flatters a little",
            ),
        ):
            if count:
                yield f"{count:,} of {self.judged:,} images {be[count != 1]} {what}: {effect}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`, all of them also where they are 0."""
        return asdict(self)
