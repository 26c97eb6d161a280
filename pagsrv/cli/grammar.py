# SPDX-License-Identifier: MIT
"""The commands as data: words, options, what each teaches.

The law: said once; the parser, the help, the reference, the manual and the
completions are made from it or compared with it. It refuses to know argparse and
what a command does.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["text", "maybe", "flag", "many", "any", "whole", "seconds"]


class Argument(NamedTuple):
    """One word or option; a *name* that begins with - is an option's flags, comma-separated."""

    name: str
    help: str
    metavar: str = ""
    kind: Kind = "text"
    needed: bool = False


class Command(NamedTuple):
    """One command; *run* is module:function of pagsrv.cli, loaded when it is wanted."""

    name: str
    summary: str
    run: str
    usage: str
    text: str
    arguments: tuple[Argument, ...]
    examples: tuple[tuple[str, str], ...]
    command: Literal["no", "may", "must"] = "no"
    """Whether -- CMD follows."""
    choice: tuple[str, ...] = ()
    """Options of which exactly one has to be given."""


DIR = Argument("--dir", "the broker's directory (default: see `pagsrv -h`)", "DIR")
SCOPE = Argument(
    "--scope", "session, pag or user for your own; session:N, pag:N or user:N exactly", "S"
)
JSON = Argument("--json", "one JSON object a line", kind="flag")
EXPECT = Argument(
    "--expect", "only if the entry is at this generation (see `pagsrv stat`)", "GENERATION", "whole"
)
NAME = Argument("NAME", "the entry's name, or S:N/NAME in full")

_COND = (
    "end the entry then: exit[=PID] (that process is gone; default the parent of this command), "
    "leader (so is the leader of its session), lease (this command is; it stays in the "
    "foreground), hup (the other end hangs up), ttl=SECONDS, opens=N, exec[=PID] (that process "
    "executes a program), setsid[=PID] (it starts a session), uid[=PID] (one of its user ids "
    "changes), orphan (the session keyring has no process left); may be repeated"
)
_OPENED = (
    "Each NAME becomes a descriptor of CMD, from 3 up, or FD if NAME=FD says so (the last = "
    "counts, if only digits follow). Several names: all or none. If the descriptors run from 3 "
    "without a gap, LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID are set as systemd sets them. CMD "
    "replaces this command, so its exit status is the one you get."
)
_WHICH = Argument("NAME[=FD]", "an entry, and which descriptor of CMD it becomes", kind="many")
_CMD = Argument("CMD", "the command and its arguments, after --")

COMMANDS: tuple[Command, ...] = (
    Command(
        "broker",
        "run a broker in the foreground",
        "starting:broker",
        "[--dir DIR] [--config FILE]",
        "The broker keeps what is posted. Yours serves your uid only; root's, at /run/pagsrv, "
        "serves everybody's user and pag scopes, and their sessions where the kernel tells them "
        "(see peerkeyring). It says READY=1 to a service manager "
        "(sd_notify) and takes sockets from one (LISTEN_FDS). SIGTERM or ^C ends it, and with it "
        "every entry.",
        (Argument("--config", "TOML file (default: /etc/pagsrv.toml for root, else "
                  "$XDG_CONFIG_HOME/pagsrv/pagsrv.toml)", "FILE"),),
        (("pagsrv broker", "at the usual place"),
         ("pagsrv broker --dir /tmp/board", "somewhere else; say the same --dir to the others")),
    ),
    Command(
        "session",
        "run a command in a new session",
        "session:session",
        "[--broker] [-- CMD...]",
        "Joins a new anonymous session keyring and runs CMD in it (default: $SHELL). What is "
        "posted in there is there for CMD and its children, and for no other process. When CMD "
        "ends, the keyring is revoked and the session's entries are gone. The exit status is "
        "CMD's, or 128+N if signal N ended it.",
        (Argument("--broker", "start a broker of its own too, for as long", kind="flag"),),
        (("pagsrv session", "a shell in a session of its own"),
         ("pagsrv session --broker -- make test", "with a board that nobody else has")),
        command="may",
    ),
    Command(
        "pagsh",
        "run a command in a new PAG and a new session",
        "session:pagsh",
        "[--keep-session] [-- CMD...]",
        "A PAG (process authentication group) is a group number that only CAP_SETGID can give, "
        "and that AFS uses to keep logins apart. Inside, a post goes to the session unless "
        "--scope pag is said.",
        (Argument("--keep-session", "keep the session keyring you are in", kind="flag"),),
        (("sudo pagsrv pagsh", "a shell in a new PAG"),
         ("pagsrv pagsh --keep-session -- pagsrv whoami", "only the PAG is new")),
        command="may",
    ),
    Command(
        "whoami",
        "the scopes this process is proved in",
        "looking:whoami",
        "[--json]",
        "Shows each scope, by what it was proved and how well it keeps others out; then those "
        "that were refused, and why; then where a post goes by default.",
        (JSON,), (("pagsrv whoami", "for people"), ("pagsrv whoami --json", "for programs")),
    ),
    Command(
        "post",
        "post an open descriptor under a name",
        "posting:post",
        "(NAME (--fd N | --open PATH | --dial ADDR | --listen ADDR | --empty) | --listen-fds) "
        "[OPTION...]",
        "What is opened, dialled or listened on is so by this command, with your rights; the "
        "broker only keeps it. Without --scope it goes to the innermost scope that keeps others "
        "out, session or pag, and never further. ADDR is tcp:HOST:PORT ([HOST] for IPv6) or "
        "unix:PATH (@PATH is abstract). Says nothing if all is well.",
        (
            NAME._replace(kind="maybe"),
            Argument("--fd", "descriptor N as this command inherits it", "N", "whole"),
            Argument("--open", "open PATH, for reading and writing if permitted, else for what "
                     "is", "PATH"),
            Argument("--dial", "connect to ADDR", "ADDR"),
            Argument("--listen", "listen on ADDR", "ADDR"),
            Argument("--empty", "nothing yet: it can be waited for, and assigned by a later "
                     "post", kind="flag"),
            Argument("--listen-fds", "every descriptor that a service manager has given this "
                     "command (LISTEN_FDS), each under its name in LISTEN_FDNAMES, in turn; NAME "
                     "is left out", kind="flag"),
            Argument("--replace", "give an entry that is there a new descriptor", kind="flag"),
            EXPECT,
            SCOPE,
            Argument("--mask", "who may do what: 24 letters, alswrv or - for each of possessor, "
                     "user, group and other, or 8 hex digits (default 3f010000)", "M"),
            Argument("--until", _COND, "COND", "many"),
            Argument("--label", "a fact to show with the entry; may be repeated", "K=V", "many"),
            JSON,
            Argument("-v,--verbose", "say what was posted and where", kind="flag"),
        ),
        (("pagsrv post db --dial tcp:localhost:5432", "a connection"),
         ("pagsrv post log --open /var/log/app.log --until exit", "while this shell lives"),
         ("pagsrv post in --fd 0 --until lease", "standard input, while this command runs"),
         ("pagsrv post web --listen tcp:[::1]:8080 --scope user", "for all of your processes"),
         ("pagsrv post --listen-fds --until lease", "what systemd listens on, as a service")),
        choice=("--fd", "--open", "--dial", "--listen", "--empty", "--listen-fds"),
    ),
    Command(
        "open",
        "run a command with entries as descriptors",
        "opening:run",
        "NAME[=FD]... [--access A] -- CMD...",
        _OPENED + " NAME/PATH is a file or directory beneath a posted directory, opened anew with "
        "the rights of whoever posted that, for reading unless --access says otherwise.",
        (_WHICH, SCOPE,
         Argument("--access", "what for, beneath a directory: r (the default), w or rw; writing "
                  "takes the write right", "A"),
         _CMD),
        (("pagsrv open db -- sh -c 'head -n 1 <&3'", "it is descriptor 3"),
         ("pagsrv open docs/a.txt=0 -- wc -l", "a file beneath a posted directory"),
         ("pagsrv open log=1 log=2 -- make", "instead of stdout and stderr"),
         ("pagsrv open http https -- ./server", "several, as a service manager would")),
        command="must",
    ),
    Command(
        "take",
        "the same, and the entries are gone from the board",
        "opening:run",
        "NAME[=FD]... -- CMD...",
        _OPENED + " Of several that take one entry, exactly one gets it. What was taken for a CMD "
        "that cannot be run after all is posted again, as you are told.",
        (_WHICH, SCOPE, _CMD),
        (("pagsrv take job -- worker", "of many workers, one gets it"),), command="must",
    ),
    Command(
        "exec",
        "run a command that sees the board as files",
        "entering:run",
        "[--at PATH] [--scope S | --preload] -- CMD...",
        "In CMD and its children, opening /srv/NAME opens the entry NAME, `echo 3 > /srv/NAME` "
        "posts descriptor 3, and cat, rm, mv, ls and test work on the names. The kernel shows "
        "their system calls to a process that answers them (seccomp), so it holds for every "
        "program, also a static one; none of them gets rights by being executed any more (sudo), "
        "or joins another session. It costs every open about 10 microseconds. CMD replaces this "
        "command. With --preload, CMD is given a library instead (LD_PRELOAD): nothing else is "
        "needed, and every other path costs nothing, but programs that are linked statically, "
        "have another C library, or get rights by being executed are not reached. Neither is a "
        "wall: a program that means to passes it by.",
        (
            Argument("--at", "where the board is (default: /srv)", "PATH"),
            Argument("--scope", "where what is created there goes (default: as in post)", "S"),
            Argument("--preload", "by a library that CMD loads", kind="flag"),
            Argument("CMD", "the command and its arguments, after --"),
        ),
        (("pagsrv exec -- sh -c 'exec 3</etc/motd; echo 3 > /srv/motd'", "post a file"),
         ("pagsrv exec -- cat /srv/motd", "and read it"),
         ("pagsrv exec --at /run/board --preload -- bash", "elsewhere, and by a library")),
        command="must",
    ),
    Command(
        "connect",
        "join stdin and stdout to an entry",
        "splicing:connect",
        "NAME [--scope S]",
        "Copies both ways until either end closes. The end of stdin shuts down the sending half "
        "of a socket, for everybody who holds it, and what still comes is copied. A file is "
        "copied out to its end, then stdin goes into it. NAME/PATH is what lies beneath a posted "
        "directory, opened for reading.",
        (NAME, SCOPE),
        (("pagsrv connect db", "talk to it"),
         ("echo hello | pagsrv connect greeter", "and read the answer")),
    ),
    Command(
        "fdpass",
        "pass an entry's descriptor over stdout, as ssh wants it",
        "fdpass:fdpass",
        "NAME [--scope S]",
        "For programs that have a descriptor brought to them, as ssh does by ProxyCommand with "
        "ProxyUseFdpass: stdout is a Unix socket, over which the descriptor goes with one byte "
        "(SCM_RIGHTS). Then this command ends, and nothing stands between. Nothing is opened "
        "where stdout is something else.",
        (NAME, SCOPE),
        (("ssh -o ProxyUseFdpass=yes -o ProxyCommand='pagsrv fdpass gate' gate",
          "over a connection that another process has dialled"),),
    ),
    Command(
        "ls",
        "list entries",
        "looking:ls",
        "[NAME[/PATH]] [-l] [--all] [--scope S] [--json]",
        "Those of the scopes you are proved in, by their full names, which every command takes. "
        "With NAME, what lies in that posted directory, or in PATH beneath it, by names which open "
        "and connect take: a directory ends with /.",
        (Argument("NAME[/PATH]", "a posted directory, or a file or directory beneath it",
                  kind="maybe"),
         Argument("-l,--long", "with mask, your rights, kind, owner, opens, age and ends",
                  kind="flag"),
         Argument("--all", "every entry you may view, of whatever scope", kind="flag"),
         SCOPE, JSON),
        (("pagsrv ls", "what is here"), ("pagsrv ls -l --all", "and what exists at all"),
         ("pagsrv ls -l docs/", "what lies in a posted directory")),
    ),
    Command(
        "stat",
        "show one entry",
        "looking:stat",
        "NAME [--scope S] [--json]",
        "Everything about an entry that you may view. A socket is asked what it is at this moment: "
        "addresses, state, the other end, queues, and how a TCP connection goes.",
        (NAME, SCOPE, JSON),
        (("pagsrv stat db", "for people"), ("pagsrv stat user:1000/db --json", "by full name")),
    ),
    Command(
        "rm",
        "remove an entry",
        "changing:rm",
        "NAME [--scope S] [--expect GENERATION]",
        "Who has opened it keeps what was opened.",
        (NAME, SCOPE, EXPECT),
        (("pagsrv rm db", "it is gone from the board"),),
    ),
    Command(
        "mv",
        "give an entry another name",
        "changing:mv",
        "OLD NEW [--scope S] [--expect GENERATION]",
        "Within its scope: an entry never moves to another.",
        (Argument("OLD", "the entry's name, or S:N/OLD in full"),
         Argument("NEW", "its new name, bare"), SCOPE, EXPECT),
        (("pagsrv mv db db-old", "the same entry, by another name"),),
    ),
    Command(
        "setperm",
        "change an entry's permission mask",
        "changing:setperm",
        "NAME MASK [--scope S] [--expect GENERATION]",
        "A mask is as a key's: who possesses the scope, the same user, the same group, others; "
        "for each of them setattr, link, search, write, read, view.",
        (NAME, Argument("MASK", "24 letters (alswrv or - four times) or 8 hex digits"), SCOPE,
         EXPECT),
        (("pagsrv setperm db 3f0b0000", "the same user may open it from other sessions too"),
         ("pagsrv setperm db alswrv------------------", "nobody else even sees it")),
    ),
    Command(
        "timeout",
        "let an entry end in some seconds",
        "changing:timeout",
        "NAME SECONDS [--scope S]",
        "0 clears it.",
        (NAME, Argument("SECONDS", "from now; 0 clears the timeout", kind="seconds"), SCOPE),
        (("pagsrv timeout db 60", "gone in a minute"), ("pagsrv timeout db 0", "it stays")),
    ),
    Command(
        "grant",
        "let another scope's members open an entry",
        "changing:grant",
        "NAME --to S:N [--scope S]",
        "They may view, search and read it, by its full name only. What is opened may carry your "
        "credentials along: files of network file systems act with the rights of whoever opened "
        "them.",
        (NAME, Argument("--to", "the other scope, exactly: session:N, pag:N or user:N", "S:N",
                        needed=True), SCOPE),
        (("pagsrv grant db --to session:8192", "for that one session"),),
    ),
    Command(
        "ungrant",
        "end a grant",
        "changing:ungrant",
        "NAME --from S:N [--scope S]",
        "Who has opened the entry keeps what was opened.",
        (NAME, Argument("--from", "the scope it was granted to", "S:N", needed=True), SCOPE),
        (("pagsrv ungrant db --from session:8192", "it is that session's no more"),),
    ),
    Command(
        "wait",
        "wait until a name is there",
        "looking:wait",
        "NAME [--scope S] [--timeout SECONDS]",
        "Exits with 0 as soon as it is, empty or not, and with 11 if it was not in time.",
        (NAME, SCOPE, Argument("--timeout", "how long at most (default: forever)", "SECONDS",
                               "seconds")),
        (("pagsrv wait db --timeout 10 && pagsrv connect db", "as soon as it is there"),),
    ),
    Command(
        "watch",
        "show what happens, as it happens",
        "looking:watch",
        "[--scope S] [--initial] [--json]",
        "Every event of entries you may view, until ^C: posted, assigned, opened, taken, renamed, "
        "changed, granted, ungranted, ended, refused, linkable; and lost, if you read too slowly.",
        (SCOPE,
         Argument("--initial", "what is there comes first, then `live`", kind="flag"), JSON),
        (("pagsrv watch", "who opens what"),
         ("pagsrv watch --initial --json | jq .name", "for programs")),
    ),
    Command(
        "tui",
        "the dashboard: every namespace, live",
        "starting:tui",
        "[--read-only] [--dir DIR]",
        "What is posted where, by whom, who took it, what ends next and what is wrong, for a "
        "person at a terminal; `?` in it shows every key. What you may not do is dimmed, with the "
        "reason. It keeps its sort, theme and columns in $XDG_CONFIG_HOME/pagsrv/tui.toml. It "
        "comes with the extra `tui` (`pip install 'pagsrv[tui]'`).",
        (Argument("--read-only", "look, and change nothing", kind="flag"),),
        (("pagsrv tui", "look at the board you would post on"),
         ("pagsrv tui --read-only --dir /run/pagsrv", "at the machine's, touching nothing")),
    ),
    Command(
        "mount",
        "the namespace as a file system, in the foreground",
        "starting:mount",
        "PATH [--scope S] [--same-uid]",
        "At the directory PATH every program finds the entries of its session as files: `echo 3 "
        ">PATH/x` posts the shell's descriptor 3 as x, `cat PATH/x` reads the posted file, and rm, "
        "mv, ls, chmod, stat do what they say. Whoever asks is proved by the kernel while it "
        "waits. Root's mount at root's broker shows every session its own entries; a user's "
        "serves the processes of the session it is started in, which takes root's helper "
        "(`pagsrv peerkeyring serve`). Nobody else is served: what cannot be proved is refused "
        "with EACCES. It ends, and the mount with it, by SIGTERM, ^C or `fusermount3 -u PATH`. It "
        "takes /dev/fuse, Linux 6.13 or newer to prove anybody, and fusermount3 (the package "
        "fuse3) without root.",
        (Argument("PATH", "a directory to mount at"),
         Argument("--scope", "where new entries go: session, pag or user (default: where `pagsrv "
                  "post` puts them)", "S"),
         Argument("--same-uid", "serve every process of your uid, of whatever session, as this "
                  "command itself: your sessions are not kept apart there any more", kind="flag")),
        (("mkdir -p ~/srv && pagsrv mount ~/srv", "for the programs of this session"),
         ("sudo pagsrv mount /srv", "for everybody, each session its own")),
    ),
    Command(
        "whois",
        "what is known of a peer or a process, and how surely",
        "whois:whois",
        "(--fd N | --pid N) [--json]",
        "Of the process at the other end of a connected Unix socket: its session and its PAG, as "
        "they were when it connected, its uid, groups and process, whether it lives, what login "
        "it came from. Each fact has its evidence and its strength: kernel, procfs-racy (read "
        "from /proc) or none; what is not known says why. Of --fd the kernel is asked here; about "
        "a --pid the broker, which answers its own uid and whom it trusts, or the kernel if there "
        "is no broker. The kernel tells no session of a bare process.",
        (Argument("--fd", "the peer of descriptor N, a Unix socket that this command inherits",
                  "N", "whole"),
         Argument("--pid", "process N", "N", "whole"), JSON),
        (("pagsrv whois --fd 0", "who connected, under a service manager (Accept=yes)"),
         ("pagsrv whois --pid 1 --json", "a fact a line, for programs")),
        choice=("--fd", "--pid"),
    ),
    Command(
        "peerkeyring",
        "have the kernel tell the session of every peer (root)",
        "peerkeyring:peerkeyring",
        "install|remove|status|serve",
        "`install` gives Linux the getsockopt that it lacks, SO_PEERKEYRING: from then on every "
        "process may ask it which session keyring the peer of its socket had when it connected, "
        "and brokers do. It lasts until `remove`, or a restart of the machine, and costs every "
        "getsockopt call of the machine up to 0.4 microseconds. It takes root, Linux 6.2 or newer "
        "with BTF, cgroup v2 and libbpf. `status` exits with 0 if the kernel answers, else with "
        "1. `serve` is for machines without cgroup v2, and for the brokers of users: in the "
        "foreground it gives whoever connects at /run/pagsrv/peerkeyring (with --dir, "
        "DIR/peerkeyring) an iterator over the peers of its own sockets, until SIGTERM. Brokers "
        "find it there, and ask it where SO_PEERKEYRING is not. Root's broker makes its own. "
        "Beside it, at mates, it gives an iterator over the tasks of one's own session, for "
        "`pagsrv mount`.",
        (Argument("ACTION", "install, remove, status or serve"),),
        (("sudo pagsrv peerkeyring install", "at boot: see contrib/systemd"),
         ("pagsrv peerkeyring status", "does the kernel answer?")),
    ),
    Command(
        "door",
        "serve a scope to programs that speak another protocol",
        "starting:door",
        "s6 SOCKET [--scope S] [--same-uid]",
        "`s6` speaks the protocol of s6-fdholderd at SOCKET, so that s6-fdholder-store, -retrieve, "
        "-list, -delete, -getdump, -setdump and -transferdump work on one scope of yours: without "
        "--scope on the one that a post goes to. SOCKET is made for you alone, in a directory that "
        "is yours alone. Only processes which the kernel shows to be in that scope are served, and "
        "the others are told EPERM; for a session that takes `peerkeyring install`, or a broker "
        "with an iterator. It stays in the foreground until a signal comes, the broker ends, or "
        "the scope does.",
        (Argument("KIND", "s6"),
         Argument("SOCKET", "where it listens; what nobody serves at any more is replaced"), SCOPE,
         Argument("--same-uid", "serve every process of your uid, of whatever session: what the "
                  "scope keeps apart this door does not", kind="flag")),
        (("pagsrv door s6 ~/.fdholder", "s6-fdholder-list ~/.fdholder, in the same session"),
         ("pagsrv door s6 ~/.fdholder --scope user", "for all of your processes")),
    ),
    Command(
        "fdstore",
        "keep entries in a service manager's store, and post what it gave",
        "fdstore:fdstore",
        "import|export [NAME...] [--scope S] [--replace] [--user-manager] [--json] [-- CMD...]",
        "For a service whose unit has FileDescriptorStoreMax= and NotifyAccess=all. `export` sends "
        "what the NAMEs are to the manager at $NOTIFY_SOCKET (FDSTORE=1), which gives it back when "
        "the service starts again, and returns when the manager has read it; whether there was "
        "room the manager does not say. `import` posts the descriptors that this command was "
        "started with (LISTEN_FDS), from the store or from a socket unit, under their names; a "
        "second one called web becomes web.2. If there are none that is all right. It becomes CMD "
        "then, with the same descriptors and words.",
        (Argument("ACTION", "import or export"),
         Argument("NAME", "an entry to export; FDNAME= holds ASCII, and no colon", kind="any"),
         SCOPE,
         Argument("--replace", "the new one in the place of what has its name", kind="flag"),
         Argument("--user-manager", "export entries of a session or a PAG to a manager that is not "
                  "root's, where every process of your uid can take them from it", kind="flag"),
         JSON, Argument("CMD", "the command and its arguments, after --")),
        (("pagsrv fdstore export db --replace", "in ExecStop="),
         ("pagsrv fdstore import --scope user -- ./server", "in ExecStart=")),
        command="may",
    ),
    Command(
        "doctor",
        "what this kernel and this login offer, and what to do about each lack",
        "doctor:doctor",
        "[--json]",
        "Exits with 0 if all is well, with 1 if there is something to do.",
        (JSON,), (("pagsrv doctor", "start here when something is refused"),),
    ),
)  # fmt: skip

BY_NAME = {command.name: command for command in COMMANDS}
