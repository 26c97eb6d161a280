# SPDX-License-Identifier: MIT
"""post --until exec, setsid, uid, orphan: of the command's parent, or why not.

The law: a shell that becomes another program takes what it posted with it, and one that
goes on keeps it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagsrv.ends import DEEDS
from tests.actors import Actor
from tests.cli.command import TYPED, Login
from tests.doers import skip_unless_told
from tests.running import Running, running_broker

pytestmark = [pytest.mark.kernel, pytest.mark.root]


@pytest.fixture(autouse=True)
def told() -> None:
    """Where the kernel tells what processes do."""
    skip_unless_told()


@pytest.fixture
def deaf(short_tmp: Path) -> Iterator[Running]:
    """A broker in a network namespace of its own, which hears of nothing."""
    argv = ("unshare", "--net", sys.executable, "-m", "pagsrv.daemon")
    with running_broker(short_tmp, argv=argv) as broker:
        yield broker


def test_deeds_are_those_of_the_parent(login: Login, name: str) -> None:
    """By default the shell that ran the command; another process by its number."""
    words = " ".join(f"--until {deed}" for deed in DEEDS)
    script = f"{TYPED} post {name} --empty {words} --until exec=1 --json; echo $$"
    entry, shell = login.execute(["sh", "-c", script]).out.splitlines()
    named = ",".join(f'"{deed}={shell}"' for deed in DEEDS)
    assert f'"until":[{named},"exec=1","revoked"]' in entry


def test_what_a_shell_posted_ends_with_its_exec(login: Login, name: str) -> None:
    """It is gone before the program it becomes can ask for it; a child's exec ends nothing."""
    post = f"{TYPED} post {name} --empty --until exec"
    kept = login.execute(["sh", "-c", f"{post} && {TYPED} stat {name}; exit $?"])
    assert kept.status == 0, kept
    login.must("rm", name)
    gone = login.execute(["sh", "-c", f"{post} && exec {TYPED} stat {name}"])
    assert gone.status == 3
    assert "no entry" in gone.err


def test_why_not(deaf: Running, name: str) -> None:
    """A usage error that says what is missing; the other words are taken; doctor tells of it."""
    with Actor() as actor:
        login = Login(actor, deaf.dir)
        for deed in DEEDS:
            said = login("post", name, "--empty", "--until", deed)
            assert said.status == 2
            assert "in the first network namespace only; run the broker outside" in said.err
        assert login("stat", name).status == 3
        login.must("post", name, "--empty", "--until", "exit", "--until", "ttl=60")
        found = {one["check"]: one for one in login("doctor", "--json").objects()}
        assert found["its --until"]["found"] == "not to be had: exec, setsid, uid"
        assert "first network namespace" in found["its --until"]["do"]


def test_doctor_says_that_all_is_to_be_had(login: Login) -> None:
    """Root's broker, in the first namespaces."""
    found = {one["check"]: one for one in login("doctor", "--json").objects()}
    assert found["its --until"]["ok"]
    assert found["its --until"]["found"] == "every end condition is to be had"
