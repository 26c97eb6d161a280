/* SPDX-License-Identifier: MIT */
/* What exec.c, execguard.c and execabove.c say to each other, before CMD is run and after. */
#ifndef PAGSRV_EXECGUARD_H
#define PAGSRV_EXECGUARD_H
#include "exec.h"

/* The supervisor's word, once; then the listener comes, or the end of the socket. */
struct ready {
    int status;                 /* 0: all is well */
    char sentence[1024];        /* or why it is not */
};

#define MAY_NOT_LOOK -1         /* a status: perhaps its parent may */

/* Be the supervisor, at the other end of CONTROL, for COMMAND, which waits.  TELL is where its
 * parent tells of it, or -1 if that is another. */
_Noreturn void guard_run(struct door *door, int control, pid_t command, int tell);
/* Nobody is left behind the door. */
_Noreturn void guard_end(struct door *door);

/* The supervisor as CMD's parent; returns nowhere: CMD goes on in above_become(). */
_Noreturn void above_start(struct door *door);
/* Wait for COMMAND, and whoever else is our child, and say what becomes of COMMAND. */
void above_watch(pid_t command, int tell);
void above_finish(void);        /* all has been said that there will be */
/* exec.c's: become CMD, whose supervisor is at the other end of CONTROL. */
_Noreturn void above_become(int control);

/* Say a sentence and exit with a status. */
_Noreturn __attribute__((format(printf, 2, 3))) void fail(int status, const char *format, ...);

#endif
