# SPDX-License-Identifier: MIT
"""python -m pagsrv_tui [--dir=DIR] [--read-only]: what `pagsrv tui` becomes.

The law: without a terminal it says so in one sentence and ends with 2; nothing heavy is
loaded before that. It refuses to know what is shown.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the dashboard; its exit status."""
    directory, read_only = None, False
    for word in sys.argv[1:]:
        if word == "--read-only":
            read_only = True
        elif word.startswith("--dir="):
            directory = word.removeprefix("--dir=")
        else:
            return _say(f"{word!r} is no word of `pagsrv tui`; `pagsrv tui -h` shows them")
    if not (os.isatty(0) and os.isatty(1)):
        return _say("the dashboard needs a terminal; `pagsrv watch` and `pagsrv ls` do not")
    from pagsrv_tui.app import Dashboard  # noqa: PLC0415 -- as the law says
    from pagsrv_tui.settings import load  # noqa: PLC0415
    from pagsrv_tui.themes import needs_ascii  # noqa: PLC0415

    settings, notice = load()
    app = Dashboard(
        directory, read_only=read_only, settings=settings, notice=notice, plain=needs_ascii()
    )
    app.run()
    return app.return_code or 0


def _say(sentence: str) -> int:
    sys.stderr.write(f"pagsrv: {sentence}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
