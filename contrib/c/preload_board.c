/* SPDX-License-Identifier: MIT */
/* The connection to the broker, kept from call to call in a program that is not ours.
 *
 * The law: it acts for who asks now: the process, its user, its groups and the calling thread's
 * session are compared with those that connected, and a connection of another is never used.  Its
 * number is high, out of the program's way, and looked at before each use: the program may have
 * closed it, and have a file of its own there, which is left alone.  A process that shares this
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

static struct {
    pthread_mutex_t lock;
    pid_t home;     /* the process that keeps it */
    struct srv srv;
    struct who who;
    dev_t dev;      /* of the socket */
    ino_t ino;
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

static bool socket_is_there(void)
{
    struct pagsrv *board = kept.srv.board;
    struct stat found;

    return board && board->sock >= 0 && fstat(board->sock, &found) == 0 &&
           found.st_dev == kept.dev && found.st_ino == kept.ino;
}

static void forget(void)
{
    if (kept.srv.board && !socket_is_there())
        kept.srv.board->sock = -1;
    srv_close(&kept.srv);
}

/* Out of the way: what is opened gets the lowest number free, as the program expects. */
static void move_up(struct pagsrv *board)
{
    int high = board->sock < HIGH ? fcntl(board->sock, F_DUPFD_CLOEXEC, HIGH) : -1;

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

/* The connection is a new one: remember whose, and which. */
static void remember(const struct who *who)
{
    struct stat found = { .st_ino = 0 };

    move_up(kept.srv.board);
    fstat(kept.srv.board->sock, &found);
    kept.dev = found.st_dev;
    kept.ino = found.st_ino;
    kept.who = *who;
}

static int ask_kept(int (*ask)(struct srv *, void *), void *with)
{
    struct who now;
    int answer, sock;

    look(&now);
    if (!socket_is_there() || memcmp(&now, &kept.who, sizeof(now)) != 0) {
        forget();
        if (srv_connect(&kept.srv) < 0)
            return -1;
        remember(&now);
    }
    sock = kept.srv.board->sock;
    answer = ask(&kept.srv, with);
    /* The broker was another meanwhile, and srv.c has found that out. */
    if (kept.srv.board && kept.srv.board->sock != sock) {
        int error = errno;

        remember(&now);
        errno = error;
    }
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

/* The parent's connection is not held open here; what is left of it is freed when it is safe to. */
static void in_child(void)
{
    if (asking)
        return;
    if (socket_is_there())
        NEXT(close)(kept.srv.board->sock);
    if (kept.srv.board)
        kept.srv.board->sock = -1;
    kept.home = getpid();
    pthread_mutex_unlock(&kept.lock);
}

__attribute__((constructor)) static void begin(void)
{
    kept.home = getpid();
    pthread_atfork(before_fork, after_fork, in_child);
}
