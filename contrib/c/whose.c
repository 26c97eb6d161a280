/* SPDX-License-Identifier: MIT */
/* Whose: the scopes that we are proved in, and who the peer of a socket is; and any other call.
 *
 * The law: a fact that was not told is not known.  It refuses to know what is done with it.
 */
#include "board.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int pagsrv_scopes(struct pagsrv *board, struct pagsrv_scope *scopes, size_t room)
{
    struct json parameters, list;
    struct pagsrv_scope scope;
    struct call call;
    size_t count = 0;

    if (call_begin(board, &call, "WhoAmI") || call_plain(board, &call, &parameters))
        return -1;
    list = json_member(parameters, "scopes");
    if (json_kind(list) != 'l')
        return board_nonsense(board, "the broker's answer holds no scopes");
    for (struct json one = json_first(list); one.at; one = json_next(list, one)) {
        if (scope_read(one, &scope))
            return board_nonsense(board, "the broker's answer holds what is no scope");
        if (count++ < room)
            scopes[count - 1] = scope;
    }
    return (int)count;
}

/* ---- whois --------------------------------------------------------------------------------- */

/* The decimal number behind PREFIX; -1 if it is none, or above MOST. */
static int number(const char *text, const char *prefix, uint64_t most, uint64_t *found)
{
    struct json value;

    if (strncmp(text, prefix, strlen(prefix)))
        return -1;
    text += strlen(prefix);
    value = json_check(text, strlen(text));
    return json_unsigned(value, found) || *found > most ? -1 : 0;
}

static void note(struct pagsrv_identity *who, const char *fact, const char *value,
                 struct json strength)
{
    uint64_t found;

    if (!strcmp(fact, "session") && !number(value, "session:", INT32_MAX, &found)) {
        who->known_session = 1;
        who->session = (uint32_t)found;
        json_cut(strength, who->session_proof, sizeof who->session_proof);
    } else if (!strcmp(fact, "isolation")) {
        snprintf(who->isolation, sizeof who->isolation, "%.15s", value);
    } else if (!strcmp(fact, "pag") && !number(value, "pag:", UINT32_MAX, &found)) {
        who->known_pag = 1;
        who->pag = (uint32_t)found;
    } else if (!strcmp(fact, "uid") && !number(value, "", UINT32_MAX, &found)) {
        who->known_cred |= 1;
        who->uid = (uid_t)found;
    } else if (!strcmp(fact, "gid") && !number(value, "", UINT32_MAX, &found)) {
        who->known_cred |= 2;
        who->gid = (gid_t)found;
    } else if (!strcmp(fact, "pid") && !number(value, "", INT32_MAX, &found)) {
        who->pid = (pid_t)found;
    } else if (!strcmp(fact, "alive")) {
        who->alive = !strcmp(value, "yes");
    }
}

int pagsrv_whois(struct pagsrv *board, int sock, struct pagsrv_identity *identity)
{
    struct json parameters, facts;
    struct call call;

    memset(identity, 0, sizeof *identity);
    if (board_announce(board) || call_begin(board, &call, "Whois") ||
        call_fd(&call, "fd", sock) || call_plain(board, &call, &parameters))
        return -1;
    facts = json_member(parameters, "facts");
    if (json_kind(facts) != 'l')
        return board_nonsense(board, "the broker's answer holds no facts");
    for (struct json one = json_first(facts); one.at; one = json_next(facts, one)) {
        struct json said = json_member(one, "value");
        char fact[32], value[512];

        if (json_kind(said) == '0')
            continue;
        if (json_cut(json_member(one, "fact"), fact, sizeof fact) ||
            json_cut(said, value, sizeof value))
            return board_nonsense(board, "the broker's answer holds what is no fact");
        note(identity, fact, value, json_member(one, "strength"));
    }
    identity->known_cred = identity->known_cred == 3;
    return 0;
}

/* ---- any other ----------------------------------------------------------------------------- */

static int add_parameters(struct call *call, const char *parameters)
{
    struct json object = json_check(parameters, strlen(parameters));

    if (json_kind(object) != 'o')
        return fault(EINVAL, STATUS_USAGE, "the parameters of a call are one JSON object");
    /* The braces are call_begin()'s and call_make()'s. */
    text_raw(&call->text, object.at + 1, (size_t)(object.end - object.at) - 2);
    return 0;
}

static char *copied(struct json parameters)
{
    size_t size = json_kind(parameters) == 'o' ? (size_t)(parameters.end - parameters.at) : 2;
    char *copy = malloc(size + 1);

    if (!copy) {
        fault(ENOMEM, STATUS_OTHER, "there is no memory for the answer");
        return NULL;
    }
    memcpy(copy, json_kind(parameters) == 'o' ? parameters.at : "{}", size);
    copy[size] = 0;
    return copy;
}

static int is_name(const char *method)
{
    return *method && !method[strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789")];
}

char *pagsrv_call(struct pagsrv *board, const char *method, const char *parameters,
                  const int *fds, size_t count, int *received, size_t *got)
{
    static const char prefix[] = "org.pagsrv.Board.";
    size_t room = received && got ? *got : 0;
    struct json answer;
    struct call call;
    char *copy;

    if (got)
        *got = 0;
    if (!strncmp(method, prefix, sizeof prefix - 1))
        method += sizeof prefix - 1;
    if (!is_name(method) || count > MESSAGE_FDS) {
        fault(EINVAL, STATUS_USAGE, "a call is a method of org.pagsrv.Board, with at most %d "
              "descriptors", MESSAGE_FDS);
        return NULL;
    }
    if ((count && board_announce(board)) || call_begin(board, &call, method) ||
        add_parameters(&call, parameters ? parameters : "{}"))
        return NULL;
    for (; call.count < count; call.count++)
        call.fds[call.count] = fds[call.count];
    if (call_make(board, &call, &answer))
        return NULL;
    if (board->count > room) {
        board_drop(board);
        fault(EPROTO, STATUS_OTHER, "the answer brought more descriptors than there is room for");
        return NULL;
    }
    copy = copied(answer);
    if (copy && board->count) {
        memcpy(received, board->fds, board->count * sizeof *received);
        *got = board->count;
        board->count = 0;
    }
    return copy;
}
