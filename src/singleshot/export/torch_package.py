"""The engine's graph for torch without our source: a `torch.export` program, or machine code by AOTInductor."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from singleshot.errors import RequestError
from singleshot.export.engine_graph import exported_program, outputs_of_network
from singleshot.models.ssd import SSD
from singleshot.runtime.engine import resized
from singleshot.shapes import UInt8
from singleshot.spec import ModelSpec

Outputs = Callable[[Sequence[UInt8[np.ndarray, "H W 3"]]], Mapping[str, np.ndarray]]


FILES = ("model.pt2",)


def to_program(network: SSD, outputs: str) -> bytes:
    """A `torch.export` program: `images` -> what `outputs_of_network` names. `torch.export.load` reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILES[0]
        torch.export.save(exported_program(network, outputs), path)
        return path.read_bytes()


def to_machine_code(network: SSD, outputs: str) -> bytes:
    """The same compiled for this processor; `torch._inductor.aoti_load_package` and C++ read it.

    Raises:
        RequestError: there is no C++ compiler.
    """
    if not any(map(shutil.which, ("g++", "clang++", "cl"))):
        raise RequestError("aotinductor compiles C++: install a compiler first (g++)")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it would tell that there is no GPU
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / FILES[0])
        torch._inductor.aoti_compile_and_package(exported_program(network, outputs), package_path=path)  # noqa: SLF001 (its only name)
        return Path(path).read_bytes()


def program_outputs(spec: ModelSpec, package: bytes, outputs: str, *, compiled: bool) -> Outputs:
    """What runs a package that was just made here. Those of others are code, and nothing of ours loads them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILES[0]
        path.write_bytes(package)
        run = torch._inductor.aoti_load_package(str(path)) if compiled else torch.export.load(path).module()  # noqa: SLF001

    names = outputs_of_network(outputs)

    def results(images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> Mapping[str, np.ndarray]:
        with torch.inference_mode():
            values = run(torch.from_numpy(resized(images, spec.input_size_hw)))
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}

    return results
