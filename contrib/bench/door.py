# SPDX-License-Identifier: MIT
"""What the seccomp door, or the preload door, adds to an open, to a program and to a compiler.

    .venv/bin/python contrib/bench/door.py [--preload] [ROUNDS]

The law: the same program does the same before the door and behind it, in turn, on one processor
with the broker and the supervisor; a figure is the median of its rounds, what is added the
difference of two. The compiler has two processors, as anybody's has. Exit status 1 if a bound
is missed. It refuses to know how the door works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from contests import CPU, SOME
from house import House
from load import entry_name
from tools import CHECKOUT, Tools, say

SECONDS = 0.3
HEADERS = 3000
STARTS = 200
PRELOAD = sys.argv[1:2] == ["--preload"]
NEAR_NOTHING = 0.5  # a library looks at the path and calls libc
PAGSRV = str(CHECKOUT / ".venv" / "bin" / "pagsrv")
WORK = (
    ("an open of /srv", "open", f"/srv/{entry_name(0)}", "open", "/etc/hostname", 60.0),
    ("any other open", "open", "/etc/hostname", "open", "/etc/hostname", 15.0),
    ("one relative to the directory", "open", "etc/hostname", "open", "etc/hostname", 15.0),
    ("a stat of /srv", "stat", f"/srv/{entry_name(0)}", "stat", "/etc/hostname", None),
    ("any other stat", "stat", "/etc/hostname", "stat", "/etc/hostname", None),
    ("a write of three bytes", "write", "/dev/null", "write", "/dev/null", None),
)


def behind(house: House, command: list[str]) -> list[str]:
    """*command* behind the door."""
    way = ["--preload"] if PRELOAD else []
    return [PAGSRV, "--dir", str(house.broker(SOME)), "exec", *way, "--", *command]


def microseconds(command: list[str]) -> float:
    """What one operation of files.c takes."""
    out = subprocess.run(command, check=True, capture_output=True, cwd="/").stdout
    return float(json.loads(out)["p50"]) / 1e3


def measure(house: House, rounds: int) -> bool:
    """Print a row for each piece of work; whether every bound holds."""
    files = str(house.tools.program("files"))
    held = True
    for title, mode, path, plain_mode, plain_path, by_seccomp in WORK:
        bound = NEAR_NOTHING if PRELOAD and path == plain_path else by_seccomp
        words = ["-t", str(SECONDS)]
        pairs = [
            (
                microseconds([files, plain_mode, plain_path, *words]),
                microseconds(behind(house, [files, mode, path, *words])),
            )
            for _ in range(rounds)
        ]
        plain, ours = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
        met = bound is None or ours - plain <= bound
        held = held and met
        verdict = " | " if bound is None else f"≤ {bound:g} µs | {'met' if met else 'missed'}"
        print(f"| {title} | {plain:.2f} µs | {ours:.2f} µs | {ours - plain:.2f} µs | {verdict} |")
    return held


def source(directory: Path) -> Path:
    """A C file that includes many headers, each of them found in the last of four directories."""
    places = [directory / str(number) for number in range(4)]
    for place in places:
        place.mkdir()
    names = [f"part-{number}.h" for number in range(HEADERS)]
    for number, name in enumerate(names):
        (places[-1] / name).write_text(f"static inline int part_{number}(void) {{ return 1; }}\n")
    made = directory / "all.c"
    made.write_text("".join(f'#include "{name}"\n' for name in names))
    return made


def compile_once(house: House, made: Path, *, door: bool) -> float:
    """Seconds that the compiler takes for *made*, itself started before or behind."""
    folders = [f"-I{made.parent / str(number)}" for number in range(4)]
    command = ["gcc", "-O2", "-D_GNU_SOURCE", "-c", "-o", "/dev/null", *folders, str(made)]
    timed = ["sh", "-c", 'date +%s%N; "$@" && date +%s%N', "sh", *command]
    words = behind(house, timed) if door else timed
    began, ended = subprocess.run(words, check=True, capture_output=True).stdout.split()
    return (int(ended) - int(began)) / 1e9


def compile_all(house: House, directory: Path, rounds: int) -> None:
    """Print a row for a file that is little but opens, and for one of ours."""
    for title, made in (
        (f"gcc, {HEADERS} headers of a line", source(directory)),
        ("gcc, a file of ours", CHECKOUT / "contrib" / "c" / "execanswer.c"),
    ):
        pairs = [
            (compile_once(house, made, door=False), compile_once(house, made, door=True))
            for _ in range(rounds)
        ]
        plain, ours = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
        added = f"{(ours - plain) * 1e3:.0f} ms ({ours / plain:.2f} times)"
        print(f"| {title} | {plain * 1e3:.0f} ms | {ours * 1e3:.0f} ms | {added} |  |  |")


def start_all(house: House, rounds: int) -> None:
    """Print a row for programs that do nothing, one after the other."""
    loop = f"i=0; while [ $i -lt {STARTS} ]; do /bin/true; i=$((i+1)); done"
    timed = ["sh", "-c", f"date +%s%N; {loop}; date +%s%N"]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for taken, words in zip(times, (timed, behind(house, timed)), strict=True):
            began, ended = subprocess.run(words, check=True, capture_output=True).stdout.split()
            taken.append((int(ended) - int(began)) / 1e3 / STARTS)
    plain, ours = median(times[0]), median(times[1])
    print(f"| a program's start | {plain:.0f} µs | {ours:.0f} µs | {ours - plain:.0f} µs |  |  |")


def main() -> int:
    """Measure and print; the exit status says whether the bounds hold."""
    words = sys.argv[2 if PRELOAD else 1 :]
    if not all(word.isdigit() for word in words[:1]) or len(words) > 1:
        say("usage: door.py [--preload] [ROUNDS]")
        return 2
    rounds = int(words[0]) if words else 7
    everywhere = os.sched_getaffinity(0)
    with (
        tempfile.TemporaryDirectory(prefix="pagsrv-bench-") as name,
        House(Path(name), Tools(Path(name))) as house,
    ):
        os.sched_setaffinity(0, {CPU})
        print("| what | before | behind | added | bound |  |")
        print("| --- | --: | --: | --: | --- | --- |")
        held = measure(house, rounds)
        start_all(house, rounds)
        os.sched_setaffinity(0, everywhere)
        compile_all(house, Path(name), rounds)
    say(f"{rounds} rounds on CPU {CPU}, load {os.getloadavg()[0]:.1f}.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
