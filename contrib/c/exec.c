/* SPDX-License-Identifier: MIT */
/* pagsrv-exec [--dir DIR] [--at DIR] [--scope S] [--above] -- CMD...: CMD with /srv.
 *
 * The law: this process becomes CMD, so that its signals, its terminal and its status are its own;
 * the supervisor is nobody's child.  Only if it may not look at CMD so, or with --above, it is
 * CMD's parent.  Whatever is wrong is said before CMD is run, in one sentence
 * and a status of docs/reference/errors.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/filter.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "execguard.h"

#define OTHER 1
#define USAGE 2
#define NOT_EXECUTABLE 126
#define NOT_FOUND 127

void fail(int status, const char *format, ...)
{
    char sentence[1200];
    va_list words;

    va_start(words, format);
    vsnprintf(sentence, sizeof(sentence), format, words);
    va_end(words);
    dprintf(STDERR_FILENO, "pagsrv: %s\n", sentence);
    exit(status);
}

/* ---- the words ----------------------------------------------------------------------------- */

static char **read_words(int argc, char **argv, struct door *door)
{
    static const struct option options[] = {
        { "dir", required_argument, NULL, 'd' },
        { "at", required_argument, NULL, 'a' },
        { "scope", required_argument, NULL, 's' },
        { "above", no_argument, NULL, 'A' },
        { NULL, 0, NULL, 0 },
    };
    const char *at = "/srv";
    int option;

    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1)
        switch (option) {
        case 'd': door->srv.dir = optarg; break;
        case 'a': at = optarg; break;
        case 's': door->srv.scope = optarg; break;
        case 'A': door->above = 1; break;
        default: exit(USAGE);
        }
    if (optind == argc)
        fail(USAGE, "there is no command to run: give it after --");
    if (path_place(&door->place, at) < 0)
        fail(USAGE, "--at %s: it has to be a directory's path from the root on, and not the root; "
             "`pagsrv exec -h` shows how", at);
    return argv + optind;
}

/* ---- the supervisor ------------------------------------------------------------------------ */

/* Its parent is gone when this returns: CMD has no child that it did not make. */
static int start_supervisor(struct door *door)
{
    int ends[2];
    pid_t self = getpid(), child;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        fail(OTHER, "the supervisor cannot be started: %s", strerror(errno));
    child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0)
            guard_run(door, ends[1], self, -1);
        _exit(0);
    }
    if (child < 0)
        fail(OTHER, "the supervisor cannot be started: %s", strerror(errno));
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
    close(ends[1]);
    return ends[0];
}

/* 0: it is not, and another may be. */
static int wait_until_ready(int control)
{
    struct ready ready;

    if (recv(control, &ready, sizeof(ready), 0) != sizeof(ready))
        fail(OTHER, "the supervisor ended before it was ready");
    if (ready.status && ready.status != MAY_NOT_LOOK)
        fail(ready.status, "%s", ready.sentence);
    return ready.status == 0;
}

static int install(void)
{
    /* A call that was taken is not begun a second time because of a signal: Linux 5.19. */
    const unsigned long flags =
        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    int fd;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail(OTHER, "rights cannot be given up here: %s", strerror(errno));
    fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, filter());
    if (fd >= 0)
        return fd;
    if (errno == EBUSY)
        fail(OTHER, "somebody listens to this process already, and Linux has room for one: behind "
             "a door of `pagsrv exec` run CMD as it is, in a container that listens say --preload");
    fail(OTHER, "seccomp refuses the filter, which takes Linux 5.19: %s; `pagsrv exec --preload` "
         "may serve", strerror(errno));
}

static void hand_over(int control, int listener)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } with = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
    struct iovec part = { "l", 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &with,
                              .msg_controllen = sizeof(with) };

    memcpy(CMSG_DATA(&with.header), &listener, sizeof(listener));
    /* If that fails the next call that is shown fails, too: ENOSYS. */
    if (sendmsg(control, &message, MSG_NOSIGNAL) != 1)
        fail(OTHER, "the supervisor is gone: %s", strerror(errno));
    close(listener);
    close(control);
}

static char **command;

static _Noreturn void become(int control)
{
    hand_over(control, install());
    execvp(*command, command);
    fail(errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE, "%s cannot be run: %s", *command,
         errno == ENOENT ? "there is no such command; give it after --" : strerror(errno));
}

void above_become(int control)
{
    wait_until_ready(control);
    become(control);
}

int main(int argc, char **argv)
{
    struct door *door = mmap(NULL, sizeof(*door), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int control;

    if (door == MAP_FAILED)
        fail(OTHER, "there is no memory: %s", strerror(errno));
    command = read_words(argc, argv, door);
    if (!door->above) {
        control = start_supervisor(door);
        if (wait_until_ready(control))
            become(control);
        close(control);
        door->above = 1;
    }
    above_start(door);
}
