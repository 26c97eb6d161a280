/* SPDX-License-Identifier: MIT */
/* What exec.c and execguard.c say to each other, over a socket, before CMD is run. */
#ifndef PAGSRV_EXECGUARD_H
#define PAGSRV_EXECGUARD_H
#include "exec.h"

/* The supervisor's word, once; then the listener comes, or the end of the socket. */
struct ready {
    int status;                 /* 0: all is well */
    char sentence[1024];        /* or why it is not */
};

/* Be the supervisor, at the other end of CONTROL, for COMMAND, which waits. */
_Noreturn void guard_run(struct door *door, int control, pid_t command);
/* Nobody is left behind the door. */
_Noreturn void guard_end(struct door *door);

#endif
