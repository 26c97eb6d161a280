# SPDX-License-Identifier: MIT
"""What the dashboard remembers: sort, theme and columns, in tui.toml.

The law: a file that is broken, or that may not be read or written, is a notice and never
the end; what it says wrongly is left at its default. It refuses to know what is done
with a setting.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import NamedTuple

from pagsrv_tui.table import BY_NAME

_MOST = 64 * 1024


class Settings(NamedTuple):
    """What is remembered."""

    sort: str = "name"
    reverse: bool = False
    theme: str = ""
    columns: tuple[str, ...] = ()


def path() -> str:
    """Where they are: $XDG_CONFIG_HOME/pagsrv/tui.toml, else beneath ~/.config."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "pagsrv", "tui.toml")


def load() -> tuple[Settings, str]:
    """The settings, and what is wrong with their file in one sentence; empty if nothing is."""
    where = path()
    try:
        with open(where, "rb") as file:
            text = file.read(_MOST)
    except FileNotFoundError:
        return Settings(), ""
    except OSError as error:
        return Settings(), f"{where} cannot be read ({error.strerror}): nothing is remembered"
    import tomllib  # noqa: PLC0415 -- the first start has no file

    try:
        told = tomllib.loads(text.decode())
    except ValueError as error:
        return Settings(), f"{where} is no TOML ({error}): the defaults hold"
    return _understood(told, where)


def _understood(told: dict[str, object], where: str) -> tuple[Settings, str]:
    found, wrong = Settings(), []
    for key, value in told.items():
        if key == "sort" and isinstance(value, str) and value in BY_NAME:
            found = found._replace(sort=value)
        elif key == "reverse" and isinstance(value, bool):
            found = found._replace(reverse=value)
        elif key == "theme" and isinstance(value, str):
            found = found._replace(theme=value)
        elif key == "columns" and isinstance(value, list) and all(one in BY_NAME for one in value):
            found = found._replace(columns=tuple(value))
        else:
            wrong.append(key)
    if wrong:
        keys = ", ".join(repr(key) for key in wrong)
        return found, f"{where} says something wrong of {keys}: the default holds there"
    return found, ""


def save(settings: Settings) -> str:
    """Remember *settings*, all or nothing; why that could not be, in one sentence, or empty."""
    where = path()
    columns = ", ".join(f'"{one}"' for one in settings.columns)
    text = (
        f'sort = "{settings.sort}"\nreverse = {str(settings.reverse).lower()}\n'
        f'theme = "{settings.theme}"\ncolumns = [{columns}]\n'
    )
    folder = os.path.dirname(where)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        number, beside = tempfile.mkstemp(dir=folder, prefix=".tui-")
        try:
            with open(number, "w") as file:
                file.write(text)
            os.replace(beside, where)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)
            raise
    except OSError as error:
        return f"{where} cannot be written ({error.strerror}): nothing is remembered"
    return ""
