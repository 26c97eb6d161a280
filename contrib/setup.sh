#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Make .venv, in which bin/pagsrv is the command of this checkout.
#
#   sh contrib/setup.sh          what is needed to run pagsrv
#   sh contrib/setup.sh test     what is needed to test it as well
#
# Run again it does nothing, quickly, until one of the files that say what is installed changes.
# It speaks on stderr only.
set -eu
umask 022

kind=${1:-${PAGSRV_SETUP:-run}}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
venv=$root/.venv
stamp=$venv/pagsrv-setup

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

extras=daemon,netlink
if [ -d tui/pagsrv_tui ]; then extras=$extras,tui; fi
shared=$extras
case $kind in
    run) ;;
    test) extras=$extras,test ;;
    *) fail "the argument is 'run' or 'test', not '$kind'." ;;
esac

# Debian's own interpreter, by its path: the first python3 on PATH may lie in a home directory,
# where no other uid can run it, and the tests run clients of several uids.
python=/usr/bin/python3

# Two set-ups of one checkout take turns. This file is the lock, so that none is left lying about.
exec 9<"$root/contrib/setup.sh"
flock 9

want=$({
    printf '%s %s\n' "$root" "$shared"
    readlink -f "$python"
    cat pyproject.toml contrib/constraints.txt contrib/setup.sh
    cat contrib/bpf/build.sh contrib/bpf/*.c contrib/c/Makefile contrib/c/*.[ch] contrib/c/*.mk contrib/c/*.in
} | sha256sum)
want=${want%% *}

have=
if [ -r "$stamp" ]; then read -r have <"$stamp"; fi
case $have in
    "$want $kind" | "$want test") exit 0 ;;
esac

# ---- packages of the system ------------------------------------------------------------------

packages='python3 python3-venv python3-dev gcc make libc6-dev libkeyutils-dev keyutils libbpf1'
# pagsrv-open starts in half the time with it (docs/adr/0028-the-c-library.md).
packages="$packages musl-tools"
if [ "$kind" = test ]; then
    packages="$packages git socat tmux clang g++ libbpf-dev"
    # The doors are tried with programs that know nothing of pagsrv.
    packages="$packages busybox-static valgrind fuse3 pkg-config"
    packages="$packages openssh-client openssh-server nginx-light s6 systemd"
    # The gssd example is tested against a KDC of its own; its package gssapi is built here.
    packages="$packages util-linux libkrb5-dev krb5-kdc krb5-admin-server krb5-user"
fi

missing() {
    for package in $packages; do
        state=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) || state=
        [ "$state" = 'install ok installed' ] || printf ' %s' "$package"
    done
}

if command -v dpkg-query >/dev/null 2>&1; then
    absent=$(missing)
    if [ -n "$absent" ]; then
        if [ "$(id -u)" -ne 0 ]; then
            fail "please have root install$absent, then run this again."
        fi
        say "installing$absent."
        export DEBIAN_FRONTEND=noninteractive
        # Of the servers among them the tests start their own: in runlevel 1 none is started here.
        export RUNLEVEL=1
        # shellcheck disable=SC2086  # a list of words
        apt-get install -qq -y --no-install-recommends $absent >/dev/null 2>&1 9<&- || {
            apt-get update -qq >&2 9<&-
            apt-get install -qq -y --no-install-recommends $absent >&2 9<&-
        }
    fi
else
    say "this is not Debian; I trust that these are here, by whatever name: $packages."
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is older than 3.11, which pagsrv needs."

# ---- the virtual environment -----------------------------------------------------------------

# An environment that was made elsewhere and carried here names its old place in every script.
if [ -e "$venv" ] && ! grep -qsxF "$root" "$venv/pagsrv-root"; then rm -rf "$venv"; fi
if [ ! -x "$venv/bin/python" ]; then
    say "making .venv from $("$python" -V)."
    rm -rf "$venv"
    "$python" -m venv "$venv" 9<&-
    printf '%s\n' "$root" >"$venv/pagsrv-root"
fi
rm -f "$stamp"

pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check -qq install \
        --constraint contrib/constraints.txt "$@" 9<&-
}

# keyutils comes as a source whose generated C is too old for Python 3.11; where Cython 3 is at
# hand its set-up makes the C anew. So the tools to build with are put into the environment itself,
# and everything else is built with them there.
say 'installing the tools to build with.'
pip pip setuptools Cython
say "installing pagsrv[$extras]."
# gssapi, for the tests: forty files of generated C, which -O0 compiles in a third of the time.
if [ "$kind" = test ]; then (export CFLAGS='-O0 -g0' && pip --no-build-isolation gssapi); fi
# compat: a plain path entry. The other way, a finder, is imported at every start of the command.
pip --no-build-isolation --config-settings editable_mode=compat --editable ".[$extras]"

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ -d tui/pagsrv_tui ]; then printf '%s\n' "$root/tui" >"$site/pagsrv_tui.pth"; fi
# setuptools' stand-in for distutils, run at every start of Python; nothing here needs it.
rm -f "$site/distutils-precedence.pth"

sh contrib/bpf/build.sh

# The doors' programs and the C library, to where the command looks for them: beside itself.
make --silent -C contrib/c install PREFIX="$venv" >&2 9<&-

# Byte code is made now: a user who may not write here would compile at every start.
for tree in pagsrv tui; do
    if [ -d "$tree" ]; then "$venv/bin/python" -m compileall -q "$tree" >&2; fi
done

# Clients of other uids run what is here, as far as the directories above let them.
if [ "$(id -u)" -eq 0 ]; then
    chmod a+rx "$root"
    for tree in .venv pagsrv tui contrib; do
        if [ -d "$tree" ]; then chmod -R a+rX "$tree"; fi
    done
fi

printf '%s %s\n' "$want" "$kind" >"$stamp"
say 'ready: .venv/bin/pagsrv.'
