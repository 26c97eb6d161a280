/* SPDX-License-Identifier: MIT */
/* What is done with entries by name: open, take, remove, rename, masks; stat and wait.
 *
 * The law: one function, one method of org.pagsrv.Board; the broker judges, always.  It refuses to
 * know sockets.
 */
#include "board.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int one_fd(struct pagsrv *board, struct call *call)
{
    struct json parameters;
    int fd;

    if (call_make(board, call, &parameters))
        return -1;
    return board_fds(board, json_member(parameters, "fd"), 1, &fd) ? -1 : fd;
}

int pagsrv_open(struct pagsrv *board, const char *name, const char *scope)
{
    struct call call;
    int fd;

    if (call_begin(board, &call, "Open"))
        return -1;
    call_name(&call, name, scope);
    if (board->counted_on) {
        text_member(&call.text, "proved");
        text_words(&call.text, board->counted_on);
    }
    fd = one_fd(board, &call);
    /* The broker knows otherwise, and so has opened nothing. */
    if (fd >= 0 || errno != ENOKEY || !board->counted_on)
        return fd;
    return board_recount(board) ? -1 : pagsrv_open(board, name, scope);
}

/* What is taken is nowhere else: it is not sent for where it cannot be held. */
static int has_room(const struct pagsrv *board)
{
    int fd = fcntl(board->sock, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        fault(errno, STATUS_OTHER, "nothing was taken, since this process may hold no more "
              "descriptors: close some, or raise the limit (ulimit -n)");
        return 0;
    }
    close(fd);
    return 1;
}

int pagsrv_take(struct pagsrv *board, const char *name, const char *scope)
{
    struct call call;

    if (board_announce(board) || call_begin(board, &call, "Take") || !has_room(board))
        return -1;
    call_name(&call, name, scope);
    return one_fd(board, &call);
}

int pagsrv_open_beneath(struct pagsrv *board, const char *const *names, size_t count,
                        const char *access, int *fds)
{
    struct json parameters;
    struct call call;

    if (call_begin(board, &call, "OpenMany"))
        return -1;
    if (count > PAGSRV_OPEN_MAX)
        return fault(EINVAL, STATUS_USAGE, "%d names are the most that one call opens",
                     PAGSRV_OPEN_MAX);
    text_member(&call.text, "names");
    text_words(&call.text, "[");
    for (size_t i = 0; i < count; i++)
        text_string(&call.text, names[i], strlen(names[i]));
    text_words(&call.text, "]");
    call_string(&call, "access", access);
    if (call_make(board, &call, &parameters))
        return -1;
    return board_fds(board, json_member(parameters, "fds"), count, fds);
}

int pagsrv_open_many(struct pagsrv *board, const char *const *names, size_t count, int *fds)
{
    return pagsrv_open_beneath(board, names, count, NULL, fds);
}

int pagsrv_remove(struct pagsrv *board, const char *name, const char *scope, uint64_t expect)
{
    struct json parameters;
    struct call call;

    if (board_announce(board) || call_begin(board, &call, "Remove"))
        return -1;
    call_name(&call, name, scope);
    if (expect) {
        text_member(&call.text, "expect");
        text_number(&call.text, expect);
    }
    return call_plain(board, &call, &parameters);
}

/* A call that is answered with the entry: it is looked at even where nobody asked for it. */
static int make(struct pagsrv *board, struct call *call, struct pagsrv_entry *entry)
{
    struct json parameters;
    struct pagsrv_entry mine;

    if (call_plain(board, call, &parameters))
        return -1;
    return entry_of(board, parameters, entry ? entry : &mine);
}

int pagsrv_rename(struct pagsrv *board, const char *name, const char *to, const char *scope)
{
    struct call call;

    if (board_announce(board) || call_begin(board, &call, "Rename"))
        return -1;
    call_name(&call, name, scope);
    call_string(&call, "to", to ? to : "");
    return make(board, &call, NULL);
}

int pagsrv_set_mask(struct pagsrv *board, const char *name, const char *scope, const char *mask)
{
    struct call call;

    if (board_announce(board) || call_begin(board, &call, "SetMask"))
        return -1;
    call_name(&call, name, scope);
    call_string(&call, "mask", mask ? mask : "");
    return make(board, &call, NULL);
}

int pagsrv_stat(struct pagsrv *board, const char *name, const char *scope,
                struct pagsrv_entry *entry)
{
    struct call call;

    if (call_begin(board, &call, "Stat"))
        return -1;
    call_name(&call, name, scope);
    return make(board, &call, entry);
}

int pagsrv_wait(struct pagsrv *board, const char *name, const char *scope, int timeout,
                struct pagsrv_entry *entry)
{
    char point[] = ".000";
    struct call call;

    if (call_begin(board, &call, "Wait"))
        return -1;
    call_name(&call, name, scope);
    if (timeout >= 0) {
        text_member(&call.text, "timeout");
        text_number(&call.text, (uint64_t)timeout / 1000);
        for (int i = 3; i; i--, timeout /= 10)
            point[i] = (char)('0' + timeout % 10);
        text_words(&call.text, point);
    }
    call.interrupted = 1;
    return make(board, &call, entry);
}
