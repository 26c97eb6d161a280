/* SPDX-License-Identifier: MIT */
/* What srv.c and srvnames.c share, and nobody else needs. */
#ifndef PAGSRV_SRVWITHIN_H
#define PAGSRV_SRVWITHIN_H
#include "srv.h"

/* Before the first question of a call; -1 if no broker can be had. */
int srv_begin(struct srv *srv);
/* After a question that failed: whether to ask again, since there is a new connection. */
int srv_again(struct srv *srv);
int srv_is_beneath(const char *name);   /* leads beneath an entry */

#endif
