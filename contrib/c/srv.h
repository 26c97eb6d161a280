/* SPDX-License-Identifier: MIT */
/* /srv: the board as files.  What opening, creating, looking at, removing and renaming a name in a
 * directory means, in terms of libpagsrv.
 *
 * The law: srvfs's.  An entry that has a descriptor is that open file, and nothing of how it is
 * opened has an effect on it.  Creating makes an empty entry; the number of a descriptor, written
 * to what was opened while the entry was empty, assigns it, and replaces it later.  A failure is -1
 * and an errno that a file could have.  It refuses to know paths, processes, and how its callers
 * came to be asked.
 *
 * A name here is what follows the directory: "db", "session:17/db", "docs/a/b.txt" beneath a posted
 * directory; "" is the directory itself, and "session:17" that of one scope.
 */
#ifndef PAGSRV_SRV_H
#define PAGSRV_SRV_H
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "pagsrv.h"

#define SRV_FULL 320            /* room for "session:4294967295/" and a name */
#define SRV_TEXT 20             /* a number has fewer bytes than this */

struct srv {
    const char *dir;            /* the broker's; NULL: where it usually is */
    const char *scope;          /* where what is created goes; NULL: where a post does */
    struct pagsrv *board;       /* asks; NULL as long as nobody connected */
    struct pagsrv *changing;    /* posts, removes and renames: answers to the other come faster */
    int fresh;                  /* connected anew in this very call */
};

/* Connect and attach.  On failure pagsrv_sentence() has one. */
int srv_connect(struct srv *srv);
void srv_close(struct srv *srv);

/* Answers of srv_open() that are no descriptor. */
#define SRV_HANDLE -2           /* an entry that is empty: see srv_assign(); its name is in FULL */
#define SRV_DIRECTORY -3        /* the directory, or that of a scope */

/* FLAGS as of open(2).  A descriptor is the caller's, and close-on-exec. */
int srv_open(struct srv *srv, const char *name, int flags, char full[SRV_FULL]);
/* Let FULL, which srv_open() told, have FD; ENOENT if it is gone.  FD stays the caller's. */
int srv_assign(struct srv *srv, const char *full, int fd);
/* The descriptor that SIZE bytes written at OFFSET name; -1 and EINVAL if they name none. */
int srv_number(const char *text, size_t size, off_t offset);

int srv_stat(struct srv *srv, const char *name, struct stat *found);
int srv_access(struct srv *srv, const char *name, int mode);
int srv_unlink(struct srv *srv, const char *name);
/* EEXIST if TO is there: nothing is lost by a rename. */
int srv_rename(struct srv *srv, const char *name, const char *to);
/* Each name of the directory, once, and whether it is a directory itself; as pagsrv_list(). */
int srv_list(struct srv *srv, const char *name,
             int (*each)(const char *name, int directory, void *with), void *with);

int srv_is_directory(const char *name);         /* "", or the name of a scope */
mode_t srv_mode(const struct pagsrv_entry *entry);

#endif
