"""Rewrite a backbone's first convolution for images of another mean, scale and channel order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from singleshot.spec import Preprocess


def convert_input(base: Mapping[str, Tensor], first: str, source: Preprocess, target: Preprocess) -> dict[str, Tensor]:
    """The same tensors, but for the first convolution, which takes what `target` gives instead of `source`.

    With pixel p: it computed w (p - m) / s + b and is fed x = (p - mean) / std, so w' = w std / s and
    b' = b + sum w (mean - m) / s. Exact but for the border, where zeros are padded: x = 0 is another colour there.

    Where batch normalisation follows instead of a bias, its running mean takes the shift.

    Args:
        base: tensors under our names.
        first: name of the first convolution: `backbone.stem.convolution`.
        source: what the weights were trained on.
        target: what the network will be fed.
    """
    weight = base[f"{first}.weight"].double()
    if source.channel_order == "bgr":
        weight = weight.flip(1)
    of_source, of_target = (
        [torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (each.mean_rgb, each.std_rgb)]
        for each in (source, target)
    )
    (old_mean, old_std), (mean, std) = of_source, of_target
    shift = (weight * ((mean - old_mean) / old_std)).sum(dim=(1, 2, 3))
    weight = weight * std / old_std
    if target.channel_order == "bgr":
        weight = weight.flip(1)
    converted = {**base, f"{first}.weight": weight.float().contiguous()}
    bias, running_mean = f"{first}.bias", f"{first.removesuffix('convolution')}norm.running_mean"
    if bias in base:
        converted[bias] = (base[bias].double() + shift).float()
    else:
        converted[running_mean] = (base[running_mean].double() - shift).float()
    return converted


def input_in_words(preprocess: Preprocess) -> str:
    """What a network takes, for people.

    >>> input_in_words(Preprocess(mean_rgb=(127.0,) * 3, std_rgb=(128.0,) * 3, channel_order="rgb"))
    'RGB, (pixel - 127) / 128'
    >>> input_in_words(Preprocess())
    'BGR, (pixel - 123, 117, 104) / 1'
    """
    mean, std = (
        ", ".join(dict.fromkeys(f"{value:.5g}" for value in values))
        for values in (preprocess.mean_rgb, preprocess.std_rgb)
    )
    return f"{preprocess.channel_order.upper()}, (pixel - {mean}) / {std}"
