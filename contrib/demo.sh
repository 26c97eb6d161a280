#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The main job, for real: a connection is left on the board in one session, and found there by
# another process of that session, and by nobody else.
#
#   sh contrib/demo.sh
#
# Sets up first if that is needed. Says each step and what came of it; ends with 1 if any step
# turned out otherwise than it should.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
sh "$root/contrib/setup.sh"
# First on PATH, for the sessions too.
PATH=$root/.venv/bin:$PATH
export PATH
python=$root/.venv/bin/python

work=$(mktemp -d /tmp/pagsrv-demo-XXXXXX)
chmod 700 "$work"
started=
failed=0

# ---- telling -----------------------------------------------------------------------------------

step() { printf '\n%s\n' "$*"; }
good() { printf '  ok    %s\n' "$*"; }
bad() {
    failed=1
    printf '  BAD   %s\n' "$*"
}
# expect WHAT WANTED GOT: WHAT is said either way.
expect() {
    if [ "$2" = "$3" ]; then good "$1"; else bad "$1 (expected: $2; it was: $3)"; fi
}
shown() { printf '        %s\n' "$1"; }

# shellcheck disable=SC2329  # by trap
clean_up() {
    trap - EXIT INT TERM HUP
    # The sessions end with their stdin, the others by a signal.
    exec 7>&- 8>&-
    for pid in $started; do
        kill "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'clean_up; exit 130' INT
trap 'clean_up; exit 143' TERM HUP

# Wait until file $1 is there, at most twenty seconds; $2 is what it means if it does not come.
await() {
    left=400
    until [ -e "$1" ]; do
        left=$((left - 1))
        if [ "$left" -eq 0 ]; then
            bad "$2"
            exit 1
        fi
        sleep 0.05
    done
}

# ---- sessions ----------------------------------------------------------------------------------

# A session is a shell that reads what to do from a FIFO, one command after the other, and leaves
# what each said, and then its status, in files.
start_session() {
    mkfifo "$work/$1.in"
    # shellcheck disable=SC2016  # to be expanded by that shell
    pagsrv session -- sh -c 'while read -r line; do
        eval "$line" </dev/null >"$1.said" 2>"$1.complaint"
        echo $? >"$1.ending" && mv "$1.ending" "$1.status"
    done' sh "$work/$1" <"$work/$1.in" &
    started="$! $started"
}
# in_session NAME COMMAND: $status and $said, what it said on stdout and stderr.
in_session() {
    rm -f "$work/$1.status"
    case $1 in
        first) printf '%s\n' "$2" >&7 ;;
        second) printf '%s\n' "$2" >&8 ;;
    esac
    await "$work/$1.status" "the $1 session does not answer"
    read -r status <"$work/$1.status"
    said=$(cat "$work/$1.said" "$work/$1.complaint")
}

# ---- the story ---------------------------------------------------------------------------------

PAGSRV_DIR=$work/board
export PAGSRV_DIR

step '1. A broker of our own starts.'
pagsrv broker --dir "$PAGSRV_DIR" 2>"$work/broker.log" &
started="$! $started"
await "$PAGSRV_DIR/varlink" 'the broker did not start'
good "it answers at $PAGSRV_DIR"

step '2. A TCP server starts on loopback; it knows nothing of pagsrv.'
"$python" "$root/contrib/demo/greeter.py" "$work/port" &
started="$! $started"
await "$work/port" 'the server did not start'
read -r port <"$work/port"
good "it listens at 127.0.0.1:$port"

step '3. Two login sessions begin, of one and the same user.'
# Both before either FIFO is opened here: a session that held the other's would keep it going.
start_session first
first=$!
start_session second
exec 7>"$work/first.in" 8>"$work/second.in"
in_session first "pagsrv whoami --json"
expect 'whoami works in the first' 0 "$status"
one=$(printf '%s\n' "$said" | sed -n 's/.*"default":"\([^"]*\)".*/\1/p')
in_session second "pagsrv whoami --json"
two=$(printf '%s\n' "$said" | sed -n 's/.*"default":"\([^"]*\)".*/\1/p')
case $one/$two in
    session:*/session:*) good "the first is proved in $one, the second in $two" ;;
    *) bad "both are proved in a session (it was: '$one' and '$two')" ;;
esac
if [ "$one" = "$two" ]; then bad 'they are two, and not one'; fi

step '4. In the first, a process dials the server, says half of a request and posts the connection.'
in_session first "pagsrv post server --dial tcp:127.0.0.1:$port"
expect 'the connection is posted as "server"' 0 "$status"
in_session first "pagsrv open server -- sh -c 'echo \"hello, I am a process\" >&3'"
expect 'the first half of the request is said over it' 0 "$status"

step '5. Another process of the first session opens it by name and finishes the conversation.'
in_session first "pagsrv open server -- sh -c \
'printf \"of the same session\\n\\n\" >&3; timeout 10 head -n 1 <&3'"
expect 'it is opened' 0 "$status"
expect 'the server heard one request, both halves over its one connection' \
    'welcome, a process of the same session: your 2 lines came over connection 1' "$said"
shown "$said"

step '6. Programs that know nothing of pagsrv find the board in a directory, by "pagsrv exec".'
mkdir "$work/srv"
printf 'left here\n' >"$work/note.txt"
in_session first "pagsrv exec --at $work/srv -- true"
if [ "$status" -eq 0 ]; then
    in_session first "pagsrv exec --at $work/srv -- \
sh -c 'exec 3<$work/note.txt; echo 3 >$work/srv/note'"
    expect 'a shell posts a file of its own by "echo 3 >srv/note"' 0 "$status"
    in_session first "pagsrv exec --at $work/srv -- cat $work/srv/note"
    expect 'cat, which opens a path, reads it' 'left here' "$said"
    in_session first "pagsrv exec --at $work/srv -- rm $work/srv/note"
    expect 'rm removes the entry' 0 "$status"
else
    shown "This machine does not let it: $said"
fi

step '7. A process of the second session asks for the same name.'
in_session second "pagsrv open server -- cat"
expect 'it is told that there is no such entry (exit status 3)' 3 "$status"
shown "$said"

step '8. It may see that something is there, as it may see that keys exist in /proc/keys.'
in_session second "pagsrv ls --all"
expect '"pagsrv ls --all" shows the entry by its full name' "$one/server" "$said"
in_session second "pagsrv open $one/server -- cat"
expect 'by its full name it is refused as well (exit status 4)' 4 "$status"
shown "$said"

step '9. The first session ends, and with it what was posted there.'
exec 7>&-
wait "$first" || :
good 'its last process is gone, and its keyring is revoked'
in_session second "pagsrv stat $one/server"
tries=200
while [ "$status" -ne 3 ] && [ "$tries" -gt 0 ]; do
    tries=$((tries - 1))
    sleep 0.05
    in_session second "pagsrv stat $one/server"
done
expect 'nobody finds the entry any more (exit status 3)' 3 "$status"
in_session second "pagsrv ls --all"
expect 'the board is empty' '' "$said"

step "$(if [ "$failed" -eq 0 ]; then
    echo 'All of it turned out as it should.'
else
    echo 'Something turned out otherwise: see BAD above.'
fi)"
exit "$failed"
