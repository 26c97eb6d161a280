# SPDX-License-Identifier: MIT
"""The client library: one conversation, two faces (blocking, aio).

The law: what is said lives in conversation.py and calls.py, once, without I/O; the
faces carry it. What only some calls need is loaded by the first of them, because a
command that opens one name is over sooner than msgspec is imported. It refuses to
know policy: the broker judges, always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pagsrv.client import calls as calls
else:

    def __getattr__(name: str) -> object:
        if name == "calls":
            import pagsrv.client.calls as loaded  # noqa: PLC0415 -- see the law above

            return loaded
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
