/* SPDX-License-Identifier: MIT */
/* What pagsrv-open has to do once its words are read.
 *
 * The law: whatever cannot be done ends the program, by fail(), before CMD is anything.  It refuses
 * to know brokers.
 */
#ifndef PAGSRV_OPENING_H
#define PAGSRV_OPENING_H
#include <stddef.h>

#define LOOK "; `pagsrv-open --help` shows how"

/* The statuses of docs/reference/errors.md that are ours to give. */
enum { OTHER = 1, USAGE = 2, NO_SESSION = 7, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

struct opening {
    const char *directory, *scope, *access;     /* NULL: not said */
    char **names;                       /* as they were written, with =FD, until opening_plan() */
    long *targets;                      /* which descriptor each becomes */
    size_t count;
    char **command;
    int errors;                         /* what was stderr when we began */
};

__attribute__((noreturn, format(printf, 2, 3)))
void fail(int status, const char *format, ...);
void *memory(size_t count, size_t size);

/* Which name becomes which descriptor; NAME=FD is NAME from then on. */
void opening_plan(struct opening *opening);
/* LISTEN_... for CMD, in our own environment. */
void opening_environment(const struct opening *opening);
/* Whether CMD can be run, as far as that can be known before. */
void opening_find(const struct opening *opening);
/* Keep our stderr out of the way of the descriptors to come. */
void opening_guard(struct opening *opening);
/* Give each of FDS its number and become CMD. */
__attribute__((noreturn))
void opening_become(struct opening *opening, int *fds);
/* What stands behind the scope of a full name; NAME if there is none before it. */
const char *opening_bare(const char *name);
#endif
