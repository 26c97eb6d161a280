/* SPDX-License-Identifier: MIT */
/* Where the broker is: the directories to look in, and a socket connected to it.
 *
 * The law: the socket is our own uid's or root's, or nothing is said to it.  It refuses to know
 * messages.
 */
#include "board.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MACHINE "/run/pagsrv"
#define HOW "start one with `pagsrv broker`, or a session that has its own with " \
    "`pagsrv session --broker`"

/* Denied unless whoever called listen(2) there is our own uid or root (SO_PEERCRED). */
static int check_owner(int sock, const char *directory)
{
    struct ucred owner;
    socklen_t size = sizeof owner;

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &owner, &size))
        return fault(errno, STATUS_OTHER, "the owner of the broker at %s is not known: %m",
                     directory);
    if (owner.uid == geteuid() || !owner.uid)
        return 0;
    return fault(EACCES, STATUS_DENIED,
                 "the socket in %s is uid %u's, neither yours nor root's: what you post there "
                 "would be theirs; name another directory with --dir or PAGSRV_DIR",
                 directory, (unsigned)owner.uid);
}

static int not_connected(const char *directory)
{
    int error = errno;

    if (error == EACCES || error == EPERM)
        return fault(EACCES, STATUS_DENIED, "you may not connect to the broker at %s: it is "
                     "another user's; " HOW, directory);
    return fault(error, STATUS_NO_BROKER, "no broker can be reached at %s (%m): " HOW, directory);
}

/* Connect to the broker in DIRECTORY: 1 connected, 0 nobody is there, -1 by its fault. */
static int reach(int sock, const char *directory)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int size = snprintf(at.sun_path, sizeof at.sun_path, "%s/board", directory);

    if (size >= (int)sizeof at.sun_path)
        return fault(ECONNREFUSED, STATUS_NO_BROKER, "%.200s has too long a path for a socket in "
                     "it (%d bytes, the most is %zu): choose a shorter directory",
                     directory, size, sizeof at.sun_path - 1);
    while (connect(sock, (struct sockaddr *)&at, sizeof at)) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED)
            return 0;
        if (errno != EINTR)
            return not_connected(directory);
    }
    return check_owner(sock, directory) ? -1 : 1;
}

/* The first directory to look in, in INTO; NULL if it is the machine's, or too long a path. */
static const char *first(const char *dir, char *into, size_t room)
{
    const char *runtime = NULL;

    if (!dir || !*dir)
        dir = getenv("PAGSRV_DIR");
    if (dir && *dir)
        return strcmp(dir, MACHINE) ? dir : NULL;
    if (geteuid())
        runtime = getenv("XDG_RUNTIME_DIR");
    if (!runtime || !*runtime)
        return NULL;
    snprintf(into, room, "%s/pagsrv", runtime);
    return into;
}

int where_dial(const char *dir, char *directory, size_t room)
{
    char made[4096];
    const char *looked[2] = { first(dir, made, sizeof made), MACHINE };
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), found = 0;

    if (sock < 0)
        return fault(errno, STATUS_OTHER, "no socket is to be had: %m");
    for (int i = 0; i < 2 && !found; i++) {
        if (!looked[i])
            continue;
        found = reach(sock, looked[i]);
        if (found > 0)
            snprintf(directory, room, "%s", looked[i]);
    }
    if (found > 0)
        return sock;
    if (!found)
        fault(ECONNREFUSED, STATUS_NO_BROKER, "no broker answers at %s%s" MACHINE ": " HOW,
              looked[0] ? looked[0] : "", looked[0] ? " or " : "");
    found = errno;
    close(sock);
    errno = found;
    return -1;
}
