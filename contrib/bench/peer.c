/* SPDX-License-Identifier: MIT */
/* One question about a held socket's peer, or one that has nothing to do with it:
 *
 *     peer keyring|logind|cgroup|cred|cookie|error|tcpinfo - [options of bench.h]
 *
 * An operation is BATCH questions, so that looking at the clock does not count.
 */
#include "bench.h"
#include "../c/peerkeyring.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <systemd/sd-login.h>

#define BATCH 64        /* as in contests.py */

struct state {
    int peer;
    pid_t pid;
};

/* A connection that was accepted, of AF_UNIX or on loopback; its client's end stays open. */
static int accepted(int family)
{
    union { struct sockaddr any; struct sockaddr_un un; struct sockaddr_in in; } address = {
        .any = {.sa_family = (sa_family_t)family}};
    socklen_t size = family == AF_UNIX ? sizeof(sa_family_t) : sizeof address.in;
    int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (family == AF_INET)
        address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* An address of the kernel's own choosing in either family. */
    if (bind(listener, &address.any, size) < 0 || listen(listener, 1) < 0)
        die("cannot listen");
    size = sizeof address;
    if (getsockname(listener, &address.any, &size) < 0 || connect(client, &address.any, size) < 0)
        die("cannot connect");
    return accept(listener, NULL, NULL);
}

static void *start(int family)
{
    struct state *state = calloc(1, sizeof *state);
    struct ucred is = {0};
    socklen_t size = sizeof is;
    state->peer = accepted(family);
    if (state->peer < 0)
        die("cannot accept");
    if (family == AF_UNIX && getsockopt(state->peer, SOL_SOCKET, SO_PEERCRED, &is, &size) < 0)
        die("no peer");
    state->pid = is.pid;
    return state;
}

static void *start_unix(const struct options *options)
{
    (void)options;
    return start(AF_UNIX);
}

static void *start_inet(const struct options *options)
{
    (void)options;
    return start(AF_INET);
}

static void ask_keyring(struct state *state)
{
    struct peerkeyring is;
    socklen_t size = sizeof is;
    if (getsockopt(state->peer, SOL_PEERKEYRING, SO_PEERKEYRING, &is, &size) < 0)
        die("the kernel does not answer");
}

/* Where nobody logs in it says so, after having looked where it looks always. */
static void ask_logind(struct state *state)
{
    char *session = NULL;
    int status = sd_peer_get_session(state->peer, &session);
    if (status < 0 && status != -ENODATA && status != -ENXIO)
        die("sd_peer_get_session failed: %d", status);
    free(session);
}

static void ask_cgroup(struct state *state)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/cgroup", state->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text) <= 0)
        die("cannot read %s", path);
    close(fd);
}

static void option(struct state *state, int level, int name)
{
    char room[256];
    socklen_t size = sizeof room;
    if (getsockopt(state->peer, level, name, room, &size) < 0)
        die("option %d of level %d", name, level);
}

static void ask_cred(struct state *state) { option(state, SOL_SOCKET, SO_PEERCRED); }
static void ask_cookie(struct state *state) { option(state, SOL_SOCKET, SO_COOKIE); }
static void ask_error(struct state *state) { option(state, SOL_SOCKET, SO_ERROR); }
static void ask_tcpinfo(struct state *state) { option(state, IPPROTO_TCP, TCP_INFO); }

static void (*ask)(struct state *);

static void many(void *state, unsigned number)
{
    (void)number;
    for (unsigned i = 0; i < BATCH; i++)
        ask(state);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void *(*start)(const struct options *);
        void (*ask)(struct state *);
    } modes[] = {
        {"keyring", start_unix, ask_keyring}, {"logind", start_unix, ask_logind},
        {"cgroup", start_unix, ask_cgroup}, {"cred", start_unix, ask_cred},
        {"cookie", start_unix, ask_cookie}, {"error", start_inet, ask_error},
        {"tcpinfo", start_inet, ask_tcpinfo},
    };
    for (size_t i = 0; argc > 2 && i < sizeof modes / sizeof *modes; i++) {
        if (!strcmp(argv[1], modes[i].name)) {
            struct options options = parse(argc, argv);
            struct client client = {modes[i].start, many};
            ask = modes[i].ask;
            run(&client, &options, SOCK_STREAM);
            return 0;
        }
    }
    fprintf(stderr, "usage: peer keyring|logind|cgroup|cred|cookie|error|tcpinfo - [OPTION]...\n");
    return 2;
}
