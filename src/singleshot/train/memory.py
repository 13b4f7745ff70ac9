"""Let the C library keep freed memory, so that each training step finds the pages of the step before."""

from __future__ import annotations

import ctypes
import platform

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Stop glibc from handing large freed blocks back to the kernel; nothing where the C library is another one.

    A step on the CPU allocates and frees the same activations, up to 80 MB each, again and again. glibc maps and unmaps
    each, and the kernel fills some 150,000 pages with zeros every step: a quarter to a third of an SSDLite step. The
    process then keeps its peak, which is no higher than before.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_M_MMAP_THRESHOLD, _NEVER)
    library.mallopt(_M_TRIM_THRESHOLD, _NEVER)
