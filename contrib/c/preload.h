/* SPDX-License-Identifier: MIT */
/* libpagsrv-preload: /srv for programs that know nothing of pagsrv, by LD_PRELOAD (ld.so(8)).
 *
 *      preload_next.c      what libc would have done
 *      preload_path.c      is this path ours?
 *      preload_board.c     the connection, kept from call to call
 *      preload_handle.c    what is written to an entry that is empty
 *      preload_open.c, preload_stdio.c, preload_stat.c, preload_names.c, preload_dir.c,
 *      preload_never.c, preload_write.c, preload_exec.c     the functions that stand before libc's
 *
 * The law: a path that is not ours goes to libc untouched, after one comparison; ours never does.
 * errno is set by failures only.  Nothing is printed, no thread or process is started, no signal is
 * taken, nothing is allocated before a path of ours is used.  Identity is the calling process's own:
 * each proves itself to the broker.  It refuses to know what a program wants with what it opened.
 */
#ifndef PAGSRV_PRELOAD_H
#define PAGSRV_PRELOAD_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "srv.h"

#define DOOR __attribute__((visibility("default")))

/* ---- what libc would have done ------------------------------------------------------------- */

/* The next definition of NAME after ours, looked up once. */
#define NEXT(name) ({ static void *next_; (__typeof__(name) *)door_next(&next_, #name); })
void *door_next(void **to, const char *name);

/* ---- is this path ours? -------------------------------------------------------------------- */

/* What follows --at in PATH: an entry's name, "" for the directory itself, NULL if not ours. */
const char *door_name(const char *path);
const char *door_name_at(int dir, const char *path);
const char *door_at(void);          /* --at, without a slash at its end */
void door_moved(bool here);         /* the current directory is --at now, or no more */
bool door_is_directory(int fd);     /* FD was opened as --at */
int door_open_directory(const char *name, int flags);   /* a descriptor that stands for it */

/* ---- the broker ---------------------------------------------------------------------------- */

/* Let ASK ask the board, on a connection that is this process's own; its answer. */
int door_ask(int (*ask)(struct srv *srv, void *with), void *with);

/* ---- an entry that is empty, open for writing ---------------------------------------------- */

#define DOOR_HANDLE_MAX 200         /* bytes of a full name that has to fit a handle */

int door_handle(const char *full);  /* a descriptor, close-on-exec; what is written assigns FULL */
bool door_handles(void);            /* whether this process may have any */
bool door_is_handle(int fd);
ssize_t door_handle_write(int fd, const void *text, size_t size);
/* Assign what was written to FD by other ways than write(2), if FD is a handle and anything was. */
int door_settle(int fd);
void door_settle_all(void);

/* ---- the answers --------------------------------------------------------------------------- */

int door_open(const char *name, int flags);
int door_stat(const char *name, struct stat *found);
int door_access(const char *name, int mode);

#endif
