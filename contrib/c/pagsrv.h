/* SPDX-License-Identifier: MIT */
/* libpagsrv: post open descriptors in your session and open them, from C.
 *
 *	struct pagsrv *board = pagsrv_connect(NULL, PAGSRV_CHANGES);
 *	if (!board || pagsrv_attach(board, NULL) < 0)
 *		errx(1, "%s", pagsrv_sentence());
 *	int fd = pagsrv_open(board, "db", NULL);
 *
 * The law: a call that fails answers -1 (or NULL), sets errno, and has left a sentence for people
 * in pagsrv_sentence() and a status for exit(3) in pagsrv_status(), both of the calling thread.
 * Every descriptor handed to the caller is close-on-exec and the caller's; every descriptor given
 * stays the caller's.  One board is used by one thread at a time.  Nothing here takes a signal,
 * starts a thread or prints.  A child of fork(2) connects anew: the connection acts for whoever
 * connected.  It refuses to know what an entry is used for.
 *
 * Names are bare ("db": looked up in session, pag, user) or full ("session:17/db").  A scope is
 * NULL (look up; for a post the default of docs/reference), "session", "pag", "user", or one with
 * its number.  errno: ENOENT NoEntry, EACCES Denied, EEXIST Exists, ENOKEY NoSession,
 * EDQUOT QuotaExceeded, ENXIO NotAssigned, ELOOP Loop, ETIMEDOUT TimedOut, ESTALE Stale,
 * ECONNREFUSED no broker, EINVAL a bad name, mask, scope or condition, EPROTO what is no answer,
 * and what the system calls on the way set.
 */
#ifndef PAGSRV_H
#define PAGSRV_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define PAGSRV_NAME_MAX 255	/* bytes of a name, without its NUL */
#define PAGSRV_OPEN_MAX 253	/* names of one pagsrv_open_many() */

struct pagsrv;			/* a connection to one broker */

/* ---- what went wrong, last, in this thread ------------------------------------------------- */

const char *pagsrv_sentence(void);	/* one sentence, without a full stop or newline; or "" */
int pagsrv_status(void);		/* 0, or the exit status of docs/reference/errors.md */

/* ---- the connection ------------------------------------------------------------------------ */

/* The connection will post, take, remove, rename or set masks: said at once, by Attach.  Without
 * it the first such call, or a whois, says so. */
#define PAGSRV_CHANGES 1u

/* DIR is the broker's directory, or NULL: $PAGSRV_DIR, $XDG_RUNTIME_DIR/pagsrv, /run/pagsrv. */
struct pagsrv *pagsrv_connect(const char *dir, unsigned flags);
/* Ask for SCOPES (a list ended by NULL; NULL alone: all there are) and prove what is to be proved,
 * from the thread that connected.  A scope that is refused is no failure unless it was named.
 * Asked for all, without PAGSRV_CHANGES, it says nothing where a connection has by itself what
 * there is: then an open names the scopes that it counts on, any other call attaches first, and
 * what the broker has against us is raised there.  A board that never attached has its user
 * scope. */
int pagsrv_attach(struct pagsrv *board, const char *const *scopes);
void pagsrv_close(struct pagsrv *board);	/* NULL is let pass; errno stays */
int pagsrv_fileno(const struct pagsrv *board);	/* for poll(2); still the board's */

struct pagsrv_scope {
	char scope[32];		/* "session:17" */
	char proof[16];		/* "kernel", "possession", "groups", "user" */
	char isolation[16];	/* "isolated", "linkable", "none" */
};
/* The scopes proved, innermost first; how many there are, of which at most ROOM are written. */
int pagsrv_scopes(struct pagsrv *board, struct pagsrv_scope *scopes, size_t room);

/* ---- entries ------------------------------------------------------------------------------- */

int pagsrv_open(struct pagsrv *board, const char *name, const char *scope);	/* a descriptor */
int pagsrv_take(struct pagsrv *board, const char *name, const char *scope);	/* and it is gone */
/* All or none; COUNT descriptors in FDS, in the order of NAMES. */
int pagsrv_open_many(struct pagsrv *board, const char *const *names, size_t count, int *fds);
/* The same of what lies beneath posted directories, each as NAME/sub/path, opened anew with the
 * rights of whoever posted that; ACCESS is "r", "w" or "rw".  pagsrv_open() and pagsrv_open_many()
 * take such names, too, and open for reading. */
int pagsrv_open_beneath(struct pagsrv *board, const char *const *names, size_t count,
			const char *access, int *fds);

struct pagsrv_posting {		/* all zero (or NULL instead of it) is the default */
	const char *scope;
	const char *mask;		/* 24 letters or 8 hex digits; NULL: the broker's default */
	const char *const *until;	/* "ttl=60", "opens=2", "lease", "hup", "exit", ...; NULL ends */
	const char *const *labels;	/* "key=value"; NULL ends */
	uint64_t expect;		/* a generation, or 0 */
	int replace;			/* not 0: what is assigned gets the new descriptor */
};
/* FD < 0 posts an empty entry; posting onto one assigns it. */
int pagsrv_post(struct pagsrv *board, const char *name, int fd, const struct pagsrv_posting *how);
int pagsrv_remove(struct pagsrv *board, const char *name, const char *scope, uint64_t expect);
int pagsrv_rename(struct pagsrv *board, const char *name, const char *to, const char *scope);
int pagsrv_set_mask(struct pagsrv *board, const char *name, const char *scope, const char *mask);

struct pagsrv_entry {
	char scope[32];
	char name[PAGSRV_NAME_MAX + 1];
	char kind[16];		/* "file", "dir", "socket", ... or "" of an empty entry */
	char access[4];		/* "r", "w", "rw", or "" */
	char mask[25];		/* 24 letters */
	char rights[7];		/* which of alswrv you have, '-' for each that you have not */
	int assigned;		/* 0: an empty entry */
	uid_t owner_uid;
	gid_t owner_gid;
	pid_t poster_pid;
	char poster_comm[17];
	uint64_t generation;
	uint64_t opens;		/* how often it was opened */
	double created;		/* seconds since 1970 */
	double last_opened;	/* or 0 */
};
int pagsrv_stat(struct pagsrv *board, const char *name, const char *scope,
		struct pagsrv_entry *entry);
/* Each entry of SCOPE (NULL: of the scopes proved), in the order of names, to EACH, which ends the
 * listing by answering other than 0; that is then the answer.  The entry is lent. */
int pagsrv_list(struct pagsrv *board, const char *scope,
		int (*each)(const struct pagsrv_entry *entry, void *with), void *with);
/* Wait until there is an entry NAME, TIMEOUT milliseconds at most (< 0: for ever), and stat it; it
 * may be an empty one.  A signal's handler ends the wait (EINTR), and the board with it. */
int pagsrv_wait(struct pagsrv *board, const char *name, const char *scope, int timeout,
		struct pagsrv_entry *entry);

/* ---- whose is it --------------------------------------------------------------------------- */

struct pagsrv_identity {	/* as of connect(2); each known_ says whether its fact is known */
	int known_session, known_pag, known_cred, alive;
	uint32_t session;	/* serial of the session keyring */
	char isolation[16];	/* of that session */
	char session_proof[16];
	uint32_t pag;
	pid_t pid;
	uid_t uid;
	gid_t gid;
};
/* Of the peer of SOCK, a connected Unix socket of your own accept(2). */
int pagsrv_whois(struct pagsrv *board, int sock, struct pagsrv_identity *identity);

/* ---- any other method of org.pagsrv.Board -------------------------------------------------- */

/* PARAMETERS is a JSON object, or NULL for {}.  The answer is the reply's parameters, a string to
 * be given to free(3).  FDS go along (COUNT of them); those of the reply, at most *GOT on the way
 * in, are written to RECEIVED and counted in *GOT (both NULL: a reply with descriptors is EPROTO).
 * What is answered in several replies (List, Watch, Namespaces) is not for this call. */
char *pagsrv_call(struct pagsrv *board, const char *method, const char *parameters,
		  const int *fds, size_t count, int *received, size_t *got);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
