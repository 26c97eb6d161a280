/* SPDX-License-Identifier: MIT */
/* The supervisor as CMD's parent, where Yama lets nobody else look at a process (ptrace_scope 1).
 *
 * The law: what CMD would have been for whoever started us is kept up for it: this process stays,
 * passes signals on, stops when CMD stops, and ends as CMD ends.  Below it is the supervisor, which
 * tells it of CMD, takes in whoever loses a parent, and goes on after CMD for those.  Nobody takes
 * over from it: who could is no ancestor.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "execguard.h"

struct told {
    pid_t command;
    int status;                 /* as of wait(2); the first time it has only begun */
};

/* ---- the supervisor's side ----------------------------------------------------------------- */

static struct {
    pid_t command;
    int tell;
    pthread_t thread;
} parent;

static void *reap(void *with)
{
    struct told told = { .command = parent.command };
    pid_t pid;

    while ((pid = waitpid(-1, &told.status, WUNTRACED)) > 0 || errno == EINTR)
        if (pid == parent.command)
            send(parent.tell, &told, sizeof(told), MSG_NOSIGNAL);
    return with;        /* nobody is left */
}

void above_watch(pid_t command, int tell)
{
    parent.command = command;
    parent.tell = tell;
    signal(SIGCHLD, SIG_DFL);
    if (pthread_create(&parent.thread, NULL, reap, NULL) != 0)
        abort();
}

void above_finish(void)
{
    if (parent.command)
        pthread_join(parent.thread, NULL);
}

/* ---- the side of whoever started us -------------------------------------------------------- */

static void send_signal(int pidfd, int number)
{
    syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

static _Noreturn void end_as(int status)
{
    sigset_t one;

    if (WIFEXITED(status))
        exit(WEXITSTATUS(status));
    signal(WTERMSIG(status), SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, WTERMSIG(status));
    prctl(PR_SET_DUMPABLE, 0);  /* one core is enough */
    raise(WTERMSIG(status));
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    exit(128 + WTERMSIG(status));
}

/* So that the shell above gets the terminal back; ^Z has stopped us with CMD. */
static void stop_as(int pidfd, int status)
{
    if (!isatty(STDIN_FILENO) || WSTOPSIG(status) == SIGTSTP)
        return;
    raise(SIGSTOP);
    send_signal(pidfd, SIGCONT);
}

static _Noreturn void end_without(int pidfd)
{
    struct pollfd on = { .fd = pidfd, .events = POLLIN };

    while (pidfd >= 0 && poll(&on, 1, -1) < 0)
        continue;
    fail(1, "the supervisor was killed: what CMD opened after that failed (ENOSYS), and how it ended "
         "is not known");
}

/* -1 where CMD has ended already, as we shall be told. */
static int pidfd_of_command(int tell)
{
    struct told begun;

    if (recv(tell, &begun, sizeof(begun), 0) != sizeof(begun))
        fail(1, "the supervisor ended before CMD began");
    return (int)syscall(SYS_pidfd_open, begun.command, 0);
}

static _Noreturn void stay(int tell, int signals)
{
    int pidfd = pidfd_of_command(tell);
    struct pollfd on[2] = { { .fd = tell, .events = POLLIN },
                            { .fd = signals, .events = POLLIN } };
    struct signalfd_siginfo came;
    struct told told;

    for (;;) {
        poll(on, 2, -1);
        if (on[1].revents && read(signals, &came, sizeof(came)) == sizeof(came) &&
            came.ssi_signo != SIGINT && came.ssi_signo != SIGQUIT)
            send_signal(pidfd, (int)came.ssi_signo);
        if (!on[0].revents)
            continue;
        if (recv(tell, &told, sizeof(told), 0) != sizeof(told))
            end_without(pidfd);
        if (WIFSTOPPED(told.status))
            stop_as(pidfd, told.status);
        else
            end_as(told.status);
    }
}

/* ---- the beginning ------------------------------------------------------------------------- */

static _Noreturn void supervise(struct door *door, const int control[2], int tell)
{
    struct told begun = { .status = 0 };

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    begun.command = fork();
    if (begun.command < 0)
        _exit(1);
    if (begun.command > 0) {
        setsid();
        send(tell, &begun, sizeof(begun), MSG_NOSIGNAL);
        guard_run(door, control[1], begun.command, tell);
    }
    above_become(control[0]);
}

void above_start(struct door *door)
{
    static const int passed_on[] = { SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT };
    int control[2], tell[2], signals;
    sigset_t taken, before;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, tell) < 0)
        fail(1, "the supervisor cannot be started: %s", strerror(errno));
    sigemptyset(&taken);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++)
        sigaddset(&taken, passed_on[i]);
    sigprocmask(SIG_BLOCK, &taken, &before);
    switch (fork()) {
    case -1:
        fail(1, "the supervisor cannot be started: %s", strerror(errno));
    case 0:
        sigprocmask(SIG_SETMASK, &before, NULL);
        supervise(door, control, tell[1]);
    }
    close(control[0]);
    close(control[1]);
    close(tell[1]);
    signals = signalfd(-1, &taken, SFD_CLOEXEC);
    stay(tell[0], signals);
}
