# SPDX-License-Identifier: MIT
"""How long the dashboard takes to start, against a Textual application that is empty.

    python contrib/bench/dashboard.py [ROUNDS]

The law: both are processes of their own from start to end, in turn, with no terminal and no
broker, and end as soon as they are ready; what counts is the median. It refuses to know why.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

_EMPTY = "from textual.app import App; class_ = type('Empty', (App,), {}); app = class_()"
_OURS = "from pagsrv_tui.app import Dashboard; app = Dashboard('/nonexistent')"
_RUN = """
import asyncio
async def main():
    async with app.run_test():
        pass
asyncio.run(main())
"""


def took(begin: str) -> float:
    """Seconds that one start takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", begin + _RUN], check=True, env=os.environ | {"TZ": "UTC"})
    return time.perf_counter() - began


def main() -> None:
    """Measure both in turn and say how they compare."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    took(_EMPTY)
    took(_OURS)
    pairs = [(took(_EMPTY), took(_OURS)) for _ in range(rounds)]
    empty, ours = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    print(f"empty {empty * 1e3:.0f} ms, dashboard {ours * 1e3:.0f} ms: {ours / empty:.2f} times")


if __name__ == "__main__":
    main()
