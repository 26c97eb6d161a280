/* SPDX-License-Identifier: MIT */
/* The supervisor's life: apart from CMD, and watched by a process that takes over.
 *
 * The law: when the last who holds the listener has gone, the kernel fails every call that it shows
 * with ENOSYS; so two processes hold it, and either makes the other anew.  They are no children of
 * CMD, are in no terminal's way, hold nothing that CMD was given, and end when the last process
 * behind the door has.  What can be killed they let pass; SIGKILL for both at once is not survived.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exec.h"
#include "execguard.h"

#define LISTENER 3
#define PARENT 4
#define DEATHS 100
#define TELL 4                  /* of whoever has no guard */
#define FIRST_FREE 5

static int guard(struct door *door);

static int pidfd_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* ---- two that watch each other -------------------------------------------------------------- */

/* Nothing of the other's is kept: a connection that two hold is never seen to end. */
static void keep_only(int parent)
{
    dup2(parent, PARENT);
    syscall(SYS_close_range, PARENT + 1, ~0u, 0);
}

static _Noreturn void stand_by(struct door *door, int parent)
{
    struct pollfd on = { .fd = PARENT, .events = POLLIN };

    keep_only(parent);
    while (poll(&on, 1, -1) < 0)
        continue;
    /* Whatever ends each of us at once is not overcome by more of us. */
    if (door->over || door->deaths++ > DEATHS)
        _exit(0);
    close(PARENT);
    serve(door, guard);
}

static int guard(struct door *door)
{
    int parent, fd;
    pid_t child;

    if (door->above)
        return -1;
    parent = pidfd_of(getpid());
    child = fork();

    if (child == 0)
        stand_by(door, parent);
    fd = child < 0 ? -1 : pidfd_of(child);
    close(parent);
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

void guard_end(struct door *door)
{
    door->over = 1;
    above_finish();
    list_remove(&door->place);
    _exit(0);
}

/* ---- the beginning ------------------------------------------------------------------------- */

static void step_aside(int control, int tell)
{
    const struct sigaction reap = { .sa_handler = SIG_IGN, .sa_flags = SA_NOCLDWAIT };
    struct rlimit files;
    sigset_t none;
    int null;

    for (int number = 1; number < SIGRTMAX; number++)
        if (number != SIGSEGV && number != SIGBUS && number != SIGILL && number != SIGFPE &&
            number != SIGABRT)
            signal(number, SIG_IGN);
    sigaction(SIGCHLD, &reap, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* Whoever started us may have closed the first three. */
    control = fcntl(control, F_DUPFD, FIRST_FREE);
    tell = tell < 0 ? -1 : fcntl(tell, F_DUPFD, FIRST_FREE);
    null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < LISTENER; fd++)
        dup2(null, fd);
    dup2(control, LISTENER);
    if (tell >= 0)
        dup2(tell, TELL);
    syscall(SYS_close_range, tell < 0 ? TELL : FIRST_FREE, ~0u, 0);
    fcntl(LISTENER, F_SETFD, FD_CLOEXEC);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Who posts through us cannot get rights any more (exec.c), and the board is to know. */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    umask(0077);
    if (chdir("/") < 0)
        return;         /* whatever this directory is, it stays */
}

static void name_handles(struct door *door)
{
    unsigned long long random = 0;

    while (getrandom(&random, sizeof(random), 0) < 0 && errno == EINTR)
        continue;
    snprintf(door->handle, sizeof(door->handle), "/memfd:pagsrv:%016llx (deleted)", random);
}

/* Whether we may read the memory of COMMAND, which is as ours still, and take its descriptors. */
static int may_look(pid_t command)
{
    static char probe;
    int pidfd = pidfd_of(command), fd, error;

    if (pidfd < 0 || caller_read(command, (uintptr_t)&probe, &probe, sizeof(probe)) < 0)
        return 0;
    fd = (int)syscall(SYS_pidfd_getfd, pidfd, STDIN_FILENO, 0);
    error = errno;
    close(pidfd);
    if (fd >= 0)
        close(fd);
    errno = error;
    return fd >= 0 || error == EBADF;
}

static void prepare(struct door *door, pid_t command, struct ready *ready)
{
    if (!may_look(command)) {
        ready->status = door->above ? 1 : MAY_NOT_LOOK;
        snprintf(ready->sentence, sizeof(ready->sentence),
                 "the supervisor may not look at CMD (%s), so it cannot know what is opened (see "
                 "/proc/sys/kernel/yama/ptrace_scope); use `pagsrv open` or --preload",
                 strerror(errno));
    } else if (srv_connect(&door->srv) < 0) {
        ready->status = pagsrv_status();
        snprintf(ready->sentence, sizeof(ready->sentence), "%s", pagsrv_sentence());
    } else if (list_make(&door->place) < 0) {
        ready->status = 1;
        snprintf(ready->sentence, sizeof(ready->sentence),
                 "no directory can be made in $XDG_RUNTIME_DIR or /tmp: %s", strerror(errno));
    }
    srv_close(&door->srv);
}

/* The listener, in place of the control socket it comes through. */
static int receive_listener(void)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof(control) };
    int fd;

    if (recvmsg(LISTENER, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
        return -1;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    if (dup3(fd, LISTENER, O_CLOEXEC) < 0)
        return -1;
    close(fd);
    return 0;
}

void guard_run(struct door *door, int control, pid_t command, int tell)
{
    struct ready ready = { .status = 0 };

    step_aside(control, tell);
    if (tell >= 0)
        above_watch(command, TELL);
    name_handles(door);
    prepare(door, command, &ready);
    if (send(LISTENER, &ready, sizeof(ready), MSG_NOSIGNAL) < 0 || ready.status ||
        receive_listener() < 0) {
        if (*door->place.scopes)
            list_remove(&door->place);
        above_finish();
        _exit(1);
    }
    door->listener = LISTENER;
    serve(door, guard);
}
