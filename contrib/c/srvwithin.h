/* SPDX-License-Identifier: MIT */
/* What srv.c and srvnames.c share, and nobody else needs. */
#ifndef PAGSRV_SRVWITHIN_H
#define PAGSRV_SRVWITHIN_H
#include "srv.h"

/* The line to ask by, &srv->board or &srv->changing, connected; NULL if no broker can be had. */
struct pagsrv **srv_line(struct srv *srv, struct pagsrv **line);
/* After a question that failed: whether to ask again, since the connection is a new one. */
int srv_again(struct srv *srv, struct pagsrv **line);
int srv_entry(struct srv *srv, const char *name, struct pagsrv_entry *entry);
int srv_is_beneath(const char *name);   /* leads beneath an entry */

#endif
