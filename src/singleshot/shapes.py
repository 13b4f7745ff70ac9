"""Array annotations such as `Float32[np.ndarray, "K 4"]`: read by people and mypy, never evaluated.

They are jaxtyping's, which is a development dependency; so nothing imports it when the program runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int, Int8, Int64, UInt8, UInt16
else:

    class _Array:
        def __class_getitem__(cls, _shape: object) -> type:
            return cls

    Bool = Float = Float32 = Float64 = Int = Int8 = Int64 = UInt8 = UInt16 = _Array

__all__ = ["Bool", "Float", "Float32", "Float64", "Int", "Int8", "Int64", "UInt8", "UInt16"]
