/* SPDX-License-Identifier: MIT */
/* connect, attach, close: the beginning and the end of a board.
 *
 * The law: a proof that fails though the session is there was overtaken by another's, and is tried
 * again; one that fails for good leaves the scopes that were proved without it.  It refuses to know
 * how a proof is written.
 */
#include "board.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROOF_TRIES 4   /* a nonce dies after 250 ms if others wait behind it */
#define HEX 32          /* digits of a nonce, and of a broker's id */

static const char *const everything[] = { "session", "pag", "user", NULL };

struct pagsrv *pagsrv_connect(const char *dir, unsigned flags)
{
    struct pagsrv *board;

    if (flags & ~PAGSRV_CHANGES) {
        fault(EINVAL, STATUS_USAGE, "pagsrv_connect() knows no such flags: %#x", flags);
        return NULL;
    }
    board = malloc(sizeof *board);
    if (!board) {
        fault(ENOMEM, STATUS_OTHER, "there is no memory for a connection");
        return NULL;
    }
    /* Not all of it: the rooms for messages are touched as far as messages go. */
    memset(board, 0, offsetof(struct pagsrv, out));
    board->sock = where_dial(dir, board->directory, sizeof board->directory);
    board->pid = getpid();
    board->flags = flags;
    if (board->sock >= 0)
        return board;
    free(board);
    return NULL;
}

static void forget_asked(struct pagsrv *board)
{
    for (size_t i = 0; board->asked[i]; i++) {
        free(board->asked[i]);
        board->asked[i] = NULL;
    }
}

void pagsrv_close(struct pagsrv *board)
{
    int error = errno;

    if (!board)
        return;
    board_drop(board);
    forget_asked(board);
    close(board->sock);
    free(board);
    errno = error;
}

int pagsrv_fileno(const struct pagsrv *board)
{
    return board->sock;
}

/* ---- attach -------------------------------------------------------------------------------- */

struct attached {
    uint64_t uid;
    char broker[HEX + 1], nonce[HEX + 1];       /* no nonce: nothing is to be proved */
};

/* What goes into the digest is what it says it is, and can say nothing else. */
static int is_hex(const char *word)
{
    return strlen(word) == HEX && strspn(word, "0123456789abcdef") == HEX;
}

static int is_session(const char *word)
{
    return !strncmp(word, "session", 7) && (!word[7] || word[7] == ':');
}

/* Attach, with our own ring said exactly: nonces take turns per ring. */
static int attach(struct pagsrv *board, const char *const *words, int changes, int ring,
                  struct attached *told, struct json *scopes)
{
    struct json parameters, nonce;
    struct call call;
    char mine[24];

    if (call_begin(board, &call, "Attach"))
        return -1;
    text_member(&call.text, "scopes");
    text_words(&call.text, "[");
    snprintf(mine, sizeof mine, "session:%d", ring);
    for (; *words; words++) {
        const char *word = strcmp(*words, "session") ? *words : mine;

        if (word != mine || ring > 0)
            text_string(&call.text, word, strlen(word));
    }
    text_words(&call.text, changes ? "],\"changes\":true" : "]");
    if (call_plain(board, &call, &parameters))
        return -1;
    nonce = json_member(parameters, "nonce");
    told->nonce[0] = 0;
    *scopes = json_member(parameters, "scopes");
    if (json_unsigned(json_member(parameters, "uid"), &told->uid) ||
        json_string(json_member(parameters, "broker"), told->broker, sizeof told->broker) ||
        !is_hex(told->broker) || json_kind(*scopes) != 'l' ||
        (json_kind(nonce) == 's' &&
         (json_string(nonce, told->nonce, sizeof told->nonce) || !is_hex(told->nonce))))
        return board_nonsense(board, "the broker's answer to Attach is not the one asked for");
    if (changes)
        board->announced = 1;
    return 0;
}

static int prove(struct pagsrv *board, int ring, struct json *scopes)
{
    struct json parameters;
    struct call call;

    if (call_begin(board, &call, "Prove"))
        return -1;
    text_member(&call.text, "ring");
    text_number(&call.text, (uint64_t)ring);
    if (call_plain(board, &call, &parameters))
        return -1;
    *scopes = json_member(parameters, "scopes");
    if (json_kind(*scopes) != 'l')
        return board_nonsense(board, "the broker's answer to Prove is not the one asked for");
    return 0;
}

/* Attach and, where a nonce comes, Prove; SCOPES are none if what is proved has to be asked for. */
static int attaching(struct pagsrv *board, const char *const *words, int changes,
                     struct prover *prover, struct json *scopes)
{
    struct attached told;

    for (int tries = 0; tries < PROOF_TRIES; tries++) {
        if (attach(board, words, changes, prover ? prover->ring : 0, &told, scopes))
            return -1;
        if (!told.nonce[0] || !prover)
            return 0;
        /* Even without a proof to show, so that who waits for this turn need not wait it out. */
        prover_answer(prover, told.nonce, told.uid, told.broker);
        if (!prove(board, prover->ring, scopes))
            return 0;
        if (errno != ENOKEY)
            return -1;
        *scopes = (struct json){ NULL, NULL };
        if (prover->hopeless)
            return 0;
    }
    return 0;
}

/* ---- what was named ------------------------------------------------------------------------ */

/* Whether WORD is among SCOPES; 1 or 0. */
static int has(struct json scopes, const char *word)
{
    size_t size = strlen(word);
    struct pagsrv_scope is;

    for (struct json one = json_first(scopes); one.at; one = json_next(scopes, one))
        if (!scope_read(one, &is) && !strncmp(is.scope, word, size) &&
            (!is.scope[size] || (is.scope[size] == ':' && !strchr(word, ':'))))
            return 1;
    return 0;
}

/* ENOKEY with the reason for the first of WORDS that was not proved; 0 if all were. */
static int check_named(struct pagsrv *board, const char *const *words, struct json scopes,
                       const struct prover *prover)
{
    char said[SENTENCE / 2] = "", kind[16] = "";
    struct json parameters, refused;
    struct call call;

    while (*words && has(scopes, *words))
        words++;
    if (!*words)
        return 0;
    if (call_begin(board, &call, "WhoAmI") || call_plain(board, &call, &parameters))
        return -1;
    scopes = json_member(parameters, "scopes");
    while (*words && has(scopes, *words))
        words++;
    if (!*words)
        return 0;
    snprintf(kind, sizeof kind, "%.*s", (int)strcspn(*words, ":"), *words);
    refused = json_member(parameters, "refused");
    for (struct json one = json_first(refused); one.at; one = json_next(refused, one)) {
        char scope[32] = "";

        json_cut(json_member(one, "scope"), scope, sizeof scope);
        if (!strncmp(scope, kind, strlen(kind)))
            json_cut(json_member(one, "why"), said, sizeof said);
    }
    if (prover && prover->why[0] && is_session(*words))
        snprintf(said, sizeof said, "%s", prover->why);
    return fault(ENOKEY, STATUS_NO_SESSION, strchr(*words, ':') ? "you are not proved in %.40s: %s"
                 : "you are proved in no %.40s scope: %s", *words,
                 said[0] ? said : "`pagsrv whoami` says why");
}

static int announced_attach(struct pagsrv *board, const char *const *scopes, int changes)
{
    const char *const *words = scopes && *scopes ? scopes : everything;
    struct prover prover, *mine = NULL;
    struct json proved = { NULL, NULL };

    for (size_t i = 0; words[i] && !mine; i++)
        if (is_session(words[i])) {
            mine = &prover;
            prover_look(mine);
        }
    board->counted_on = NULL;
    board->attached = 1;
    if (attaching(board, words, changes, mine, &proved))
        return -1;
    return scopes && *scopes ? check_named(board, scopes, proved, mine) : 0;
}

/* Kept before it is asked for: whatever comes of that, nothing else is asked for later. */
static int remember(struct pagsrv *board, const char *const *scopes)
{
    size_t count = 0;

    while (scopes && scopes[count])
        if (++count > SCOPES_ASKED)
            return fault(EINVAL, STATUS_USAGE, "%d scopes are the most that can be asked for",
                         SCOPES_ASKED);
    forget_asked(board);
    for (size_t i = 0; i < count; i++) {
        board->asked[i] = strdup(scopes[i]);
        if (!board->asked[i]) {
            board_end(board, GIVEN_UP);
            return fault(ENOMEM, STATUS_OTHER, "there is no memory for the scopes' names");
        }
    }
    return 0;
}

int pagsrv_attach(struct pagsrv *board, const char *const *scopes)
{
    if (remember(board, scopes))
        return -1;
    board->counted_on = board->asked[0] || board->flags || board->attached ? NULL
        : prover_counted_on(board->sock);
    return board->counted_on ? 0
        : announced_attach(board, scopes, board->announced || board->flags);
}

int board_recount(struct pagsrv *board)
{
    return announced_attach(board, NULL, 0);
}

int board_announce(struct pagsrv *board)
{
    return board->announced ? 0
        : announced_attach(board, (const char *const *)board->asked, 1);
}
