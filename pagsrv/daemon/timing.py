# SPDX-License-Identifier: MIT
"""How long calls take to serve: the last of those that were measured.

The law: it costs those that are not measured nothing, so one wake-up in some is; memory
is of one size. It refuses to know what was asked.
"""

from __future__ import annotations

from collections import deque

from pagsrv.vitals import Latency

EVERY = 64
"""Of so many wake-ups the calls of one are measured."""

_KEPT = 1024
"""Samples kept: enough for a p99 of the last minutes, and 40 kB."""

_MICROSECONDS = 1e6


class Timing:
    """The last samples, each the seconds that one call took."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_KEPT)

    def note(self, calls: int, seconds: float) -> None:
        """So many *calls* took *seconds* together; nothing is noted where there was none."""
        if calls:
            self._samples.append(seconds / calls)

    def latency(self) -> Latency | None:
        """What the samples show; None while there are none."""
        ordered = sorted(self._samples)
        if not ordered:
            return None
        p50, p90, p99 = (
            round(ordered[len(ordered) * part // 100] * _MICROSECONDS, 1) for part in (50, 90, 99)
        )
        return Latency(p50, p90, p99, len(ordered))
