# SPDX-License-Identifier: MIT
"""The rules of srvfs and Plan 9's /srv, each as a script for stock programs.

A script is run by sh, with $S the directory of the door, $F a file of two lines, "one" and
"two", $G one of the line "other", $NAME a name of its own, $PYTHON, $BUSYBOX and $MUSL
programs; the entry docs is a posted directory. What it prints is all that counts. `cli` is the same
rule by the commands.

The law: a rule holds or it does not; what a door cannot do is said beside it, in one sentence,
and is tried all the same. It refuses to know how a door is entered.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_NONE: Mapping[str, str] = MappingProxyType({})

_STATIC = "a program that is linked statically loads no library"
_MUSL = "the library is for programs of glibc"
_BYTES = "what is opened is a file of the mount, through which the bytes go"


class Row(NamedTuple):
    """A rule; *says* is what either script prints where it holds; no *cli*: it is not for that."""

    key: str
    rule: str
    files: str
    cli: str
    says: str
    lacks: Mapping[str, str] = _NONE
    """The doors for which it does not hold, and why not."""
    other: bool = False
    """Whether it is tried in another session, after all the rest."""


def _python(program: str) -> str:
    return f"$PYTHON - $S/$NAME $F <<'END'\n{program}END\n"


_NUMBER = """\
import errno, os, sys
handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
try:
    {write}
    print("taken")
except OSError as error:
    print(errno.errorcode[error.errno])
"""

ROWS: tuple[Row, ...] = (
    Row(
        "empty",
        "creating makes an empty entry, with which nothing works but removing it",
        ": >$S/$NAME; test -e $S/$NAME && echo there\n"
        "cat $S/$NAME 2>&1 | grep -c 'No such device or address'\n"
        "rm $S/$NAME; test -e $S/$NAME || echo gone",
        "pagsrv post $NAME --empty; pagsrv stat $NAME >/dev/null && echo there\n"
        "pagsrv open $NAME -- true 2>&1 | grep -c 'is empty'\n"
        "pagsrv rm $NAME; pagsrv stat $NAME 2>/dev/null || echo gone",
        "there\n1\ngone\n",
    ),
    Row(
        "post",
        "writing a number posts that descriptor of the writer's",
        "exec 3<$F; echo 3 >$S/$NAME; cat $S/$NAME",
        "exec 3<$F; pagsrv post $NAME --fd 3; pagsrv open $NAME=0 -- cat",
        "one\ntwo\n",
    ),
    Row(
        "bad",
        "a number that is none, or names nothing open, changes nothing",
        "for number in 77 x -1 00000000000000000003; do echo $number >$S/$NAME 2>/dev/null; done\n"
        "cat $S/$NAME 2>/dev/null || echo empty",
        "pagsrv post $NAME --fd 77 2>/dev/null; pagsrv stat $NAME 2>/dev/null || echo empty",
        "empty\n",
    ),
    Row(
        "told",
        "and is EINVAL to who wrote it",
        _python(_NUMBER.format(write='os.write(handle, b"77")')),
        "pagsrv post $NAME --fd 77 2>/dev/null; test $? = 2 && echo EINVAL",
        "EINVAL\n",
    ),
    Row(
        "offset",
        "so is one that is written elsewhere than at the beginning",
        _python(_NUMBER.format(write='os.pwrite(handle, b"0", 1)')),
        "",
        "EINVAL\n",
    ),
    Row(
        "replace",
        "writing again replaces; who has opened keeps the file it got",
        "exec 3<$F 4<$G 5>$S/$NAME 7>$S/$NAME; echo 3 >&5; exec 6<$S/$NAME; echo 4 >&7\n"
        "cat $S/$NAME; cat <&6",
        "exec 3<$F 4<$G; pagsrv post $NAME --fd 3; pagsrv open $NAME=6 -- sh -c '\n"
        "pagsrv post $NAME --fd 4 --replace; pagsrv open $NAME=0 -- cat; cat <&6'",
        "other\none\ntwo\n",
    ),
    Row(
        "offset-shared",
        "an open gives exactly that open file: the offset is one",
        "exec 3<$F; read line <&3; echo 3 >$S/$NAME; exec 4<>$S/$NAME; cat <&4",
        "exec 3<$F; read line <&3; pagsrv post $NAME --fd 3; pagsrv open $NAME=0 -- cat",
        "two\n",
    ),
    Row(
        "flags",
        "the flags of an open have no effect on it",
        _python(
            "import fcntl, os, sys\n"
            "ours, _ = os.pipe()\n"
            "handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)\n"
            "os.write(handle, str(ours).encode())\n"
            "os.close(handle)\n"
            "got = os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK | os.O_APPEND)\n"
            "print(fcntl.fcntl(ours, fcntl.F_GETFL) == fcntl.fcntl(got, fcntl.F_GETFL))\n"
        ),
        "exec 3<$F; pagsrv post $NAME --fd 3; pagsrv open $NAME=4 -- sh -c '\n"
        'test "$(grep flags /proc/self/fdinfo/3)" = "$(grep flags /proc/self/fdinfo/4)"\' && '
        "echo True",
        "True\n",
        {"fuse": _BYTES},
    ),
    Row(
        "socket",
        "whatever it is: a socket is one",
        _python(
            "import os, socket, sys\n"
            "here, there = socket.socketpair()\n"
            "handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)\n"
            "os.write(handle, str(there.fileno()).encode())\n"
            "os.close(handle)\n"
            "got = socket.socket(fileno=os.open(sys.argv[1], os.O_RDWR))\n"
            "here.send(b'through')\n"
            "print(got.recv(20).decode())\n"
        ),
        "$PYTHON -c '\nimport os, socket, subprocess\nhere, there = socket.socketpair()\n"
        'name = os.environ["NAME"]\n'
        'subprocess.run(["pagsrv", "post", name, "--fd", str(there.fileno())], '
        'pass_fds=[there.fileno()])\nhere.send(b"through")\nhere.close()\nthere.close()\n'
        'subprocess.run(["pagsrv", "connect", name], stdin=subprocess.DEVNULL)\n\'; echo',
        "through\n",
        {"fuse": _BYTES},
    ),
    Row(
        "inherited",
        "children inherit what was opened, unless O_CLOEXEC was said",
        "exec 3<$F; echo 3 >$S/$NAME; exec 4<$S/$NAME; sh -c 'cat <&4'\n"
        + _python(
            "import os, sys\n"
            "kept = os.open(sys.argv[1], os.O_RDONLY | os.O_CLOEXEC)\n"
            "os.execv('/bin/sh', ['sh', '-c', f'test -e /proc/self/fd/{kept} || echo closed'])\n"
        ),
        "exec 3<$F; pagsrv post $NAME --fd 3; pagsrv open $NAME=4 -- sh -c 'sh -c \"cat <&4\"'\n"
        "$PYTHON - <<'END'\nimport os, pagsrv\nkept = pagsrv.connect().open(os.environ['NAME'])\n"
        "os.execv('/bin/sh', ['sh', '-c', f'test -e /proc/self/fd/{kept.fileno()} || echo closed'])"
        "\nEND\n",
        "one\ntwo\nclosed\n",
    ),
    Row(
        "stays",
        "it stays open when the poster has exited",
        "sh -c 'exec 3<$F; echo 3 >$S/$NAME'; cat $S/$NAME",
        "sh -c 'exec 3<$F; pagsrv post $NAME --fd 3'; pagsrv open $NAME=0 -- cat",
        "one\ntwo\n",
    ),
    Row(
        "unlink",
        "removing it leaves what was opened",
        "exec 3<$F; echo 3 >$S/$NAME; exec 4<$S/$NAME; rm $S/$NAME; cat <&4\n"
        "test -e $S/$NAME || echo gone",
        "exec 3<$F; pagsrv post $NAME --fd 3; pagsrv open $NAME=4 -- sh -c '\n"
        "pagsrv rm $NAME; cat <&4; pagsrv stat $NAME 2>/dev/null || echo gone'",
        "one\ntwo\ngone\n",
    ),
    Row(
        "loop",
        "a file of the board itself is ELOOP, and changes nothing",
        _python(_NUMBER.format(write="os.write(handle, str(handle).encode())"))
        + "cat $S/$NAME 2>/dev/null || echo empty",
        "$PYTHON - <<'END'\nimport os, pagsrv\n"
        "with pagsrv.connect(changes=True) as board:\n    try:\n"
        "        board.post(os.environ['NAME'], board.fileno())\n"
        "    except pagsrv.Loop:\n        print('ELOOP')\nEND\n"
        "pagsrv stat $NAME 2>/dev/null || echo empty",
        "ELOOP\nempty\n",
    ),
    Row(
        "stat",
        "an entry is a file of its owner's, -rw-r--r--, and they lie in a directory",
        ': >$S/$NAME; test "$(stat -c %u $S/$NAME)" = "$(id -u)" && stat -c "%A %F" $S/$NAME $S',
        "",
        "-rw-r--r-- regular empty file\ndrwxr-xr-x directory\n",
    ),
    Row(
        "bash",
        "bash: `echo 3 >`, `cat`, `exec 4<>`, `rm`",
        "bash -c 'exec 3<$F; echo 3 >$S/$NAME; exec 4<>$S/$NAME; cat $S/$NAME; rm $S/$NAME\n"
        "test -e $S/$NAME || echo gone'",
        "bash -c 'exec 3<$F; pagsrv post $NAME --fd 3; pagsrv open $NAME=4 -- cat /dev/fd/4\n"
        "pagsrv rm $NAME; pagsrv stat $NAME 2>/dev/null || echo gone'",
        "one\ntwo\ngone\n",
    ),
    Row(
        "names",
        "mv and ls",
        "exec 3<$F; echo 3 >$S/$NAME; mv $S/$NAME $S/$NAME-b; ls $S | grep ^$NAME; cat $S/$NAME-b",
        "exec 3<$F; pagsrv post $NAME --fd 3; pagsrv mv $NAME $NAME-b\n"
        "pagsrv ls | grep -o $NAME.*; pagsrv open $NAME-b=0 -- cat",
        "names-b\none\ntwo\n",
    ),
    Row(
        "child",
        "a program that a shell redirects: /bin/echo",
        "exec 3<$F; /bin/echo 3 >$S/$NAME; cat <$S/$NAME",
        "exec 3<$F; env pagsrv post $NAME --fd 3; pagsrv open $NAME=0 -- cat",
        "one\ntwo\n",
    ),
    Row(
        "python",
        "Python: open, listdir, stat, unlink",
        _python(
            "import os, sys\n"
            "path, file = sys.argv[1:]\n"
            "kept = open(file)\n"
            "with open(path, 'w') as entry:\n    entry.write(str(kept.fileno()))\n"
            "print(open(path).read(), end='')\n"
            "there, name = os.path.split(path)\n"
            "print(name in os.listdir(there), os.stat(path).st_uid == os.geteuid())\n"
            "os.unlink(path)\nprint(os.path.exists(path))\n"
        ),
        "$PYTHON - <<'END'\nimport os, pagsrv\nname = os.environ['NAME']\n"
        "with pagsrv.connect(changes=True) as board, open(os.environ['F']) as kept:\n"
        "    board.post(name, kept.fileno())\n"
        "    with open(board.open(name).detach()) as got:\n        print(got.read(), end='')\n"
        "    there = [one.name for one in board.list()]\n"
        "    print(name in there, board.stat(name).owner.uid == os.geteuid())\n"
        "    board.remove(name)\n    print(name in [one.name for one in board.list()])\nEND\n",
        "one\ntwo\nTrue True\nFalse\n",
    ),
    Row(
        "static",
        "a static program: busybox",
        "$BUSYBOX sh -c 'exec 3<$F; echo 3 >$S/$NAME; cat $S/$NAME' 2>/dev/null",
        "$BUSYBOX sh -c 'exec 3<$F; pagsrv post $NAME --fd 3; pagsrv open $NAME=0 -- $BUSYBOX cat'",
        "one\ntwo\n",
        {"preload": _STATIC},
    ),
    Row(
        "musl",
        "a program of another C library: musl",
        "exec 3<$F; echo 3 >$S/$NAME; $MUSL $S/$NAME 2>/dev/null",
        "exec 3<$F; pagsrv post $NAME --fd 3; pagsrv open $NAME=0 -- $MUSL /dev/fd/0",
        "one\ntwo\n",
        {"preload": _MUSL},
    ),
    Row(
        "beneath",
        "what lies beneath a posted directory is opened and listed",
        "ls $S/docs; ls $S/docs/a; cat $S/docs/a/b.txt; find $S/docs -type f | wc -l\n"
        "echo three >>$S/docs/a/b.txt; tail -n 1 $S/docs/a/b.txt",
        "pagsrv ls docs/ | grep -o 'a/$' | tr -d /; pagsrv ls docs/a | grep -o 'b.txt$'\n"
        "pagsrv open docs/a/b.txt=0 -- cat; pagsrv ls docs/a | wc -l\n"
        "pagsrv open docs/a/b.txt=1 --access rw -- sh -c 'cat <&1 >/dev/null; echo three'\n"
        "pagsrv open docs/a/b.txt=0 -- tail -n 1",
        "a\nb.txt\none\ntwo\n1\nthree\n",
    ),
    Row(
        "separate",
        "another session's entries are not there",
        "cat $S/stays 2>/dev/null || echo none; ls $S",
        "pagsrv open stays -- cat 2>/dev/null || echo none; pagsrv ls",
        "none\n",
        other=True,
    ),
)
