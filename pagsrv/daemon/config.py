# SPDX-License-Identifier: MIT
"""The broker's configuration: argv and a TOML file, to one frozen value.

The law: an unknown key is an error that names the file and the key; a missing
file is the defaults, unless it was asked for by name. It refuses to know what
the values do.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from pagsrv.errors import PagsrvError
from pagsrv.limits import Limits

WAYS = ("peerkeyring", "iterator", "possession")
"""The ways to prove a session, best first."""

_SECTIONS = ("limits", "pag", "proofs", "sessions", "whois")
_KEYS = {
    ("pag", "two_groups"): "two_group_pags",
    ("proofs", "use"): "ways",
    ("proofs", "helper"): "helper",
    ("sessions", "end_when_empty"): "end_when_empty",
    ("whois", "trusted_group"): "trusted_group",
}


class BadConfig(PagsrvError):
    """The configuration cannot be used; the sentence names file and key."""

    status = 2


class Config(NamedTuple):
    """What the broker was told."""

    dir: str
    limits: Limits = Limits()
    two_group_pags: bool = False
    end_when_empty: bool = False
    trusted_group: int | None = None
    ways: tuple[str, ...] = WAYS
    helper: str | None = None


def default_dir() -> str:
    """Where a broker of this uid lives; BadConfig if the environment does not say."""
    told = os.environ.get("PAGSRV_DIR")
    if told:
        return told
    if os.getuid() == 0:
        return "/run/pagsrv"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise BadConfig("XDG_RUNTIME_DIR is not set, so there is no place for a broker: give --dir")
    return os.path.join(runtime, "pagsrv")


def default_file() -> str:
    """The configuration file of this uid's broker."""
    if os.getuid() == 0:
        return "/etc/pagsrv.toml"
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "pagsrv", "pagsrv.toml")


def load(directory: str | None, path: str | None) -> Config:
    """The configuration from *path* (default_file() if None), with *directory* before all."""
    config = Config(os.path.abspath(directory or default_dir()), end_when_empty=not os.getuid())
    name = path or default_file()
    try:
        with open(name, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        if path is None:
            return config
        raise BadConfig(f"there is no configuration file {name}") from None
    except OSError as error:
        raise BadConfig(f"{name} cannot be read: {error.strerror}") from None
    return _apply(config, name, _parse(name, text))


def _parse(name: str, text: bytes) -> dict[str, object]:
    import tomllib  # noqa: PLC0415 -- 8 ms and a megabyte, for a file that is rarely there

    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{name} is no TOML: {error}") from None


def _apply(config: Config, name: str, told: dict[str, object]) -> Config:
    for section, values in told.items():
        if section not in _SECTIONS or not isinstance(values, dict):
            known = " and ".join(f"[{one}]" for one in _SECTIONS)
            raise BadConfig(f"{name}: {section} is unknown; there are {known}")
        if section == "limits":
            config = config._replace(limits=_limits(name, values))
            continue
        for key, value in values.items():
            field = _KEYS.get((section, key))
            if field is None:
                keys = ", ".join(f"{section}.{one}" for had, one in _KEYS if had == section)
                raise BadConfig(f"{name}: {section}.{key} is unknown; there is {keys}")
            config = config._replace(**{field: _value(name, f"{section}.{key}", value)})  # type: ignore[arg-type]
    return config


def _limits(name: str, values: dict[str, object]) -> Limits:
    known = set(Limits._fields)
    chosen: dict[str, int] = {}
    for key, value in values.items():
        if key not in known:
            raise BadConfig(
                f"{name}: limits.{key} is unknown; there are {', '.join(sorted(known))}"
            )
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadConfig(f"{name}: limits.{key} must be a whole number of at least 1")
        chosen[key] = value
    return Limits()._replace(**chosen)


def _value(name: str, key: str, value: object) -> object:
    if key == "whois.trusted_group":
        return _group(name, key, value)
    if key == "proofs.use":
        return _ways(name, key, value)
    if key == "proofs.helper":
        return _path(name, key, value)
    if not isinstance(value, bool):
        raise BadConfig(f"{name}: {key} must be true or false")
    return value


def _ways(name: str, key: str, value: object) -> tuple[str, ...]:
    known = ", ".join(WAYS)
    if not isinstance(value, list) or not value:
        raise BadConfig(f"{name}: {key} must be a list with at least one of {known}")
    for way in value:
        if way not in WAYS:
            raise BadConfig(f"{name}: {key}: there is no {way!r}; there are {known}")
    return tuple(way for way in WAYS if way in value)


def _path(name: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        raise BadConfig(f"{name}: {key} must be the absolute path of a socket")
    return value


def _group(name: str, key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str):
        raise BadConfig(f"{name}: {key} must be a group's name or number")
    import grp  # noqa: PLC0415 -- asked once, at the start, before anybody is served

    try:
        return grp.getgrnam(value).gr_gid
    except KeyError:
        raise BadConfig(f"{name}: {key}: there is no group {value}") from None
