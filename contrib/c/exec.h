/* SPDX-License-Identifier: MIT */
/* pagsrv-exec: /srv for a command and all its children, by seccomp's user notifications
 * (seccomp_unotify(2)); what `pagsrv exec` becomes.
 *
 *	exec.c		the words, the filter's installation, and CMD in place of us
 *	execfilter.c	which system calls are shown to the supervisor
 *	execguard.c	the supervisor's life: apart from CMD, and taken over if it is killed
 *	execabove.c	the other life, where Yama wants a parent
 *	execserve.c	takes each call and lets pass what is not ours
 *	execlook.c	what a call is about, and whether it is ours
 *	execpath.c	which paths are ours, by their text
 *	execcaller.c	what is read of the caller, written to it, taken from it
 *	execanswer.c	asks the broker (srv.h), and answers
 *	execlist.c	the directory that is handed out as /srv
 *
 * The law: what a caller has in its memory is read once, and the copy is judged; a call that is not
 * ours goes on as if nobody had looked.  That is a convenience and no wall: a thread of the caller
 * can change a path after it was read, and gets what it could have opened itself.  What has an
 * effect outside the caller happens only while the call is known to wait.  A call that is not ours
 * never waits for the broker.  It refuses to know what names mean (srv.c does).
 */
#ifndef PAGSRV_EXEC_H
#define PAGSRV_EXEC_H
#include <limits.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/types.h>

#include "srv.h"

#if defined(__x86_64__)
#define EXEC_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define EXEC_ARCH AUDIT_ARCH_AARCH64
#else
#error "the numbers of this architecture's system calls are not known here"
#endif

/* ---- what is ours -------------------------------------------------------------------------- */

struct place {
    char given[PATH_MAX];       /* --at, without . and .. and double slashes */
    char real[PATH_MAX];        /* where that leads, if it is there */
    char listed[PATH_MAX];      /* what is handed out as the directory: execlist.c */
    char scopes[PATH_MAX];      /* beside it, those of scopes */
    dev_t dev;                  /* of real */
    ino_t ino;                  /* 0: it is not there */
};

/* PATH by its text alone, from BASE (absolute, or NULL where PATH is).  1: ours, and NAME is what
 * follows the directory; 0: not ours.  *DOUBT: .. was taken back over what may be a symlink. */
int path_name(const struct place *place, const char *base, const char *path, char name[PATH_MAX],
              int *doubt);
/* Fill in --at; -1 and errno if it is no path for that. */
int path_place(struct place *place, const char *at);

/* ---- a call that waits --------------------------------------------------------------------- */

enum deed { NOT_OURS, OPEN, STAT, STATX, ACCESS, UNLINK, RENAME, XATTR, REFUSE, WRITE };

struct request {
    struct seccomp_notif call;
    enum deed deed;
    int flags;                  /* of open(2), or the mode of access(2) */
    int tries;
    uint64_t where;             /* address of what is read or written */
    char name[PATH_MAX];
    char to[PATH_MAX];
    int doubtful;               /* look_again() is to be asked, with the path as it was read */
    char path[PATH_MAX];
};

#define QUEUE 1024              /* calls that wait for the broker; the next one stops the others */

/* Shared with the process that takes over. */
struct door {
    struct place place;
    struct srv srv;
    int listener;
    int above;                  /* the supervisor is CMD's parent: execabove.c */
    _Atomic int over;           /* every process behind the door has ended */
    _Atomic int handles;        /* any was ever given out */
    _Atomic int judged;         /* a caller may have become another than we are: look at each */
    char handle[48];            /* what /proc shows of our handles */
    int deaths;                 /* of supervisors, since one last took a call */
    struct seccomp_notif taken; /* by the thread that takes; id 0: none */
    int taken_tries;
    unsigned first, next;       /* of the queue, ever counting */
    struct request queue[QUEUE];
};

/* ---- answering; each is the end of the call ------------------------------------------------- */

void answer_go_on(const struct door *door, const struct seccomp_notif *call);
void answer_value(const struct door *door, const struct seccomp_notif *call, long value);
void answer_error(const struct door *door, const struct seccomp_notif *call, int error);
/* FD stays ours. */
void answer_fd(const struct door *door, const struct seccomp_notif *call, int fd, int cloexec);
int call_waits(const struct door *door, const struct seccomp_notif *call);
/* Ask the broker and answer. */
void answer(struct door *door, struct request *request);

/* ---- the caller ---------------------------------------------------------------------------- */

/* Bytes of its memory; -1 if they cannot be had. */
int caller_read(pid_t pid, uint64_t from, void *to, size_t size);
/* A path, with its NUL; -1 if there is none of that length to be read. */
int caller_path(pid_t pid, uint64_t from, char path[PATH_MAX]);
int caller_write(const struct door *door, const struct seccomp_notif *call, uint64_t to,
                 const void *from, size_t size);
/* Where descriptor DIR, or AT_FDCWD, leads; -1 if that cannot be known. */
int caller_directory(pid_t pid, int dir, char path[PATH_MAX]);
/* Descriptor FD, now ours too. */
int caller_fd(const struct door *door, const struct seccomp_notif *call, int fd);
/* Whether it still has our root directory, user and groups. */
int caller_is_ours(const struct door *door, const struct seccomp_notif *call);
/* Whether its descriptor FD is a handle of this door. */
int caller_has_handle(const struct door *door, pid_t pid, int fd);

/* ---- the rest ------------------------------------------------------------------------------ */

struct sock_fprog;
const struct sock_fprog *filter(void);

/* What a call is about, and whether it is ours; fills in all but `call`. */
enum deed look(struct door *door, struct request *request);
/* Whether a path with .. leads here by the kernel's own resolution, too; that may take long. */
int look_again(const struct door *door, const struct request *request);
/* Until every process behind the door has ended; GUARD is a pidfd, made anew when it dies. */
_Noreturn void serve(struct door *door, int (*guard)(struct door *door));

int list_make(struct place *place);
void list_remove(const struct place *place);
/* A descriptor of a directory that has the entries of NAME ("" or a scope). */
int list_open(struct door *door, const char *name);

#endif
