/* SPDX-License-Identifier: MIT */
/* The connections to the broker, kept from call to call in a program that is not ours.
 *
 * The law: they act for who asks now: the process, its user, its groups and the calling thread's
 * session are compared with those that connected, and a connection of another is never used.
 * Their numbers are high, out of the program's way, and looked at before each use: the program may
 * have closed one, and have a file of its own there, which is left alone.  A process that shares this
 * memory, or was made past fork(3), keeps none.  It refuses to know what is asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "board.h"
#include "preload.h"

#define HIGH 400    /* above what shells and programs name, below the usual limit of 1024 */
#define GROUPS 64   /* compared; a change among more of them goes unnoticed */

struct who {
    uid_t uid;
    gid_t gid;
    long ring;      /* serial of the session keyring; keyrings(7) has them for each thread */
    int groups;
    gid_t group[GROUPS];
};

/* srv.h's two connections, and which sockets they are. */
enum { ASKS, CHANGES, LINES };

static struct {
    pthread_mutex_t lock;
    pid_t home;     /* the process that keeps them */
    struct srv srv;
    struct who who;
    dev_t dev[LINES];
    ino_t ino[LINES];
} kept = { .lock = PTHREAD_MUTEX_INITIALIZER };

static __thread bool asking __attribute__((tls_model("initial-exec")));

static void look(struct who *who)
{
    memset(who, 0, sizeof(*who));
    who->uid = geteuid();
    who->gid = getegid();
    who->ring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
    who->groups = getgroups(GROUPS, who->group);
}

static struct pagsrv **line(struct srv *srv, int which)
{
    return which == ASKS ? &srv->board : &srv->changing;
}

static bool is_there(int which)
{
    struct pagsrv *board = *line(&kept.srv, which);
    struct stat found;

    return board && board->sock >= 0 && fstat(board->sock, &found) == 0 &&
           found.st_dev == kept.dev[which] && found.st_ino == kept.ino[which];
}

static void forget(int which)
{
    struct pagsrv **board = line(&kept.srv, which);

    if (*board && !is_there(which))
        (*board)->sock = -1;
    pagsrv_close(*board);
    *board = NULL;
}

/* Out of the way: what is opened gets the lowest number free, as the program expects. */
static void move_up(struct pagsrv *board)
{
    int high = board && board->sock < HIGH ? fcntl(board->sock, F_DUPFD_CLOEXEC, HIGH) : -1;

    if (high >= 0) {
        NEXT(close)(board->sock);
        board->sock = high;
    }
}

static int ask_once(int (*ask)(struct srv *, void *), void *with)
{
    struct srv srv = { .board = NULL };
    int answer = srv_connect(&srv);

    if (answer == 0) {
        move_up(srv.board);
        answer = ask(&srv, with);
    }
    srv_close(&srv);
    return answer;
}

/* Connections that are new: which sockets they are. */
static void remember(void)
{
    int before = errno;
    struct stat found;

    for (int which = 0; which < LINES; which++) {
        struct pagsrv *board = *line(&kept.srv, which);

        move_up(board);
        if (!board || fstat(board->sock, &found) < 0 || !S_ISSOCK(found.st_mode))
            continue;
        kept.dev[which] = found.st_dev;
        kept.ino[which] = found.st_ino;
    }
    errno = before;
}

static int ask_kept(int (*ask)(struct srv *, void *), void *with)
{
    struct who now;
    bool same;
    int answer;

    look(&now);
    same = memcmp(&now, &kept.who, sizeof(now)) == 0;
    kept.who = now;
    for (int which = 0; which < LINES; which++)
        if (!same || !is_there(which))
            forget(which);
    /* Before it is asked by, so that it is out of the way of what is opened. */
    if (!kept.srv.board) {
        if (srv_connect(&kept.srv) < 0)
            return -1;
        remember();
    }
    answer = ask(&kept.srv, with);
    remember();
    return answer;
}

int door_ask(int (*ask)(struct srv *srv, void *with), void *with)
{
    int before = errno, answer, cancel;

    /* The handler of a signal that came in the middle of a call, on the same stack. */
    if (asking) {
        errno = EDEADLK;
        return -1;
    }
    asking = true;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    if (getpid() == kept.home) {
        pthread_mutex_lock(&kept.lock);
        answer = ask_kept(ask, with);
        pthread_mutex_unlock(&kept.lock);
    } else {
        answer = ask_once(ask, with);
    }
    asking = false;
    if (answer >= 0)
        errno = before;
    pthread_setcancelstate(cancel, NULL);
    return answer;
}

/* ---- fork ---------------------------------------------------------------------------------- */

static void before_fork(void)
{
    if (!asking)
        pthread_mutex_lock(&kept.lock);
}

static void after_fork(void)
{
    if (!asking)
        pthread_mutex_unlock(&kept.lock);
}

/* The parent's connections are not held open here; what is left is freed when it is safe to. */
static void in_child(void)
{
    if (asking)
        return;
    for (int which = 0; which < LINES; which++) {
        struct pagsrv *board = *line(&kept.srv, which);

        if (is_there(which))
            NEXT(close)(board->sock);
        if (board)
            board->sock = -1;
    }
    kept.home = getpid();
    pthread_mutex_unlock(&kept.lock);
}

__attribute__((constructor)) static void begin(void)
{
    kept.home = getpid();
    pthread_atfork(before_fork, after_fork, in_child);
}
