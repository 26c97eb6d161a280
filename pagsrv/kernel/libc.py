# SPDX-License-Identifier: MIT
"""The C library, for the few system calls that Python has no name for.

The law: loaded when first called for, since ctypes costs milliseconds and half a
megabyte that the commands save. It refuses to know what is called.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes


@lru_cache(maxsize=1)
def libc() -> ctypes.CDLL:
    """The C library of this process; ctypes.get_errno() has the errno of a failed call."""
    import ctypes  # noqa: PLC0415 -- see the law

    return ctypes.CDLL(None, use_errno=True)
