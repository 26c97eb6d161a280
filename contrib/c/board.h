/* SPDX-License-Identifier: MIT */
/* A connection to a broker, from within: what the files of libpagsrv share.
 *
 * The law: one call at a time, its answer read before the next is sent.  Descriptors that came
 * with an answer lie in the board until they are taken (board_fds) or the next answer, which
 * closes them, as the end of the board does.  A board left in the middle of a call is over: the
 * socket keeps its number until pagsrv_close(), and says nothing any more.
 */
#ifndef PAGSRV_BOARD_H
#define PAGSRV_BOARD_H
#include "fault.h"
#include "json.h"
#include "pagsrv.h"
#include <sys/un.h>

#define MESSAGE_BYTES 65536     /* pagsrv/limits.py has the reasons */
#define MESSAGE_FDS 253
#define SCOPES_ASKED 16
#define SENTENCE 1024

enum over { GOES_ON, HUNG_UP, GIVEN_UP };

struct pagsrv {
    int sock;
    pid_t pid;                          /* who connected */
    unsigned flags;
    int attached;                       /* Attach has been called */
    int announced;                      /* Attach has said that changes will follow */
    const char *counted_on;             /* the scopes that we have not asked for; NULL: asked */
    enum over over;
    char *asked[SCOPES_ASKED + 1];      /* what pagsrv_attach() was asked for, ended by NULL */
    int fds[MESSAGE_FDS];               /* of the last answer, ours */
    size_t count;
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    char out[MESSAGE_BYTES];
    char in[MESSAGE_BYTES + 1];
};

/* A call being written: METHOD and an open object of parameters.  call_begin() answers -1 where
 * the board serves for no call, by its fault. */
struct call {
    struct text text;
    int fds[MESSAGE_FDS];               /* the caller's */
    size_t count;
    int more;                           /* may be answered in several packets */
    int interrupted;                    /* a signal's handler ends it, and the board with it */
};
int call_begin(struct pagsrv *board, struct call *call, const char *method);
void call_string(struct call *call, const char *name, const char *value);  /* none where NULL */
/* `"fd":N` for a descriptor that goes along; -1 where there are too many. */
int call_fd(struct call *call, const char *name, int fd);
void call_name(struct call *call, const char *name, const char *scope);

/* Send, and read the first answer: its parameters, which live until the next call.
 * 1: further answers follow, and have to be read; 0; or -1 by its fault. */
int call_make(struct pagsrv *board, struct call *call, struct json *parameters);
/* The next answer to such a call; 1, 0 or -1 as well. */
int call_more(struct pagsrv *board, struct json *parameters);
/* call_make() for calls that bring no descriptor. */
int call_plain(struct pagsrv *board, struct call *call, struct json *parameters);

/* The COUNT descriptors that INDICES (a number, or a list) speaks of, now the caller's; or -1. */
int board_fds(struct pagsrv *board, struct json indices, size_t count, int *fds);
void board_drop(struct pagsrv *board);  /* close what has not been taken */
/* EPROTO with WHY, and the board is over. */
int board_nonsense(struct pagsrv *board, const char *why);
void board_end(struct pagsrv *board, enum over how);
/* See to it that changes are announced; -1 by its fault. */
int board_announce(struct pagsrv *board);
/* Ask for the scopes that were counted on; -1 by its fault. */
int board_recount(struct pagsrv *board);

/* The member `entry` of an answer; -1 and the board is over where it is none. */
int entry_of(struct pagsrv *board, struct json parameters, struct pagsrv_entry *entry);
int entry_read(struct json value, struct pagsrv_entry *entry);
int scope_read(struct json value, struct pagsrv_scope *scope);

/* A socket connected to the first broker found, and its directory; -1 by its fault. */
int where_dial(const char *dir, char *directory, size_t room);

/* What can be shown of the calling thread's session. */
struct prover {
    int ring;           /* its serial; 0 if it is none that can be proved */
    int hopeless;       /* trying again would change nothing */
    char why[SENTENCE / 2];
};
void prover_look(struct prover *prover);
/* The kinds of scopes that a connection at SOCK will have without asking, as a list in JSON; NULL
 * where there may be others. */
const char *prover_counted_on(int sock);
/* The payload that proves (docs/reference/protocol.md); INODE is that of our pidfd. */
void prover_digest(const char *nonce, uint64_t inode, int ring, uint64_t uid, const char *broker,
                   char payload[65]);
/* Put the proof into the ring, if it takes one. */
void prover_answer(struct prover *prover, const char *nonce, uint64_t uid, const char *broker);
#endif
