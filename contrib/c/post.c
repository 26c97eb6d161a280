/* SPDX-License-Identifier: MIT */
/* post: a descriptor, its end conditions with their pidfds, its labels.
 *
 * The law: a pidfd opened here is closed here, after the post, on every path.  What a condition
 * means, and whether there is one of that word, is the broker's to say.
 */
#include "board.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENDS 64         /* more than the broker takes, so that the refusal is its own */

struct ends {
    int pidfds[ENDS];
    size_t count;
};

/* The process that CONDITION names, as exit=PID does; 0 if it names none. */
static long named_process(const char *condition)
{
    static const char *const need[] = { "exit", "leader", "exec", "setsid", "uid" };
    size_t size = strcspn(condition, "=");
    long pid;
    char *end;

    if (!condition[size] || condition[size + 1] < '0' || condition[size + 1] > '9')
        return 0;
    errno = 0;
    pid = strtol(condition + size + 1, &end, 10);
    if (*end)
        return 0;
    for (size_t i = 0; i < sizeof need / sizeof *need; i++)
        if (strlen(need[i]) == size && !strncmp(need[i], condition, size))
            return pid > 0 && pid <= INT32_MAX ? pid : -1;
    return 0;
}

static int add_end(struct call *call, struct ends *ends, const char *condition)
{
    long pid = named_process(condition);
    int pidfd;

    if (ends->count == ENDS)
        return fault(EINVAL, STATUS_USAGE, "an entry has at most 16 end conditions");
    text_next(&call->text);
    text_words(&call->text, "{");
    call_string(call, "cond", condition);
    if (pid) {
        errno = ESRCH;
        pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
        if (pidfd < 0)
            return fault(EINVAL, STATUS_USAGE, "%.40s: there is no such process (%m)", condition);
        ends->pidfds[ends->count++] = pidfd;
        if (call_fd(call, "fd", pidfd))
            return -1;
    }
    text_words(&call->text, "}");
    return 0;
}

static int add_labels(struct call *call, const char *const *labels)
{
    text_member(&call->text, "labels");
    text_words(&call->text, "{");
    for (; *labels; labels++) {
        const char *equals = strchr(*labels, '=');

        if (!equals)
            return fault(EINVAL, STATUS_USAGE, "%.80s is no label: give key=value", *labels);
        text_string(&call->text, *labels, (size_t)(equals - *labels));
        text_words(&call->text, ":");
        text_string(&call->text, equals + 1, strlen(equals + 1));
    }
    text_words(&call->text, "}");
    return 0;
}

static int write_post(struct call *call, struct ends *ends, const char *name, int fd,
                      const struct pagsrv_posting *how)
{
    call_name(call, name, how->scope);
    if (fd >= 0 && call_fd(call, "fd", fd))
        return -1;
    if (how->replace)
        text_words(&call->text, ",\"replace\":true");
    if (how->expect) {
        text_member(&call->text, "expect");
        text_number(&call->text, how->expect);
    }
    call_string(call, "mask", how->mask);
    if (how->until && *how->until) {
        text_member(&call->text, "until");
        text_words(&call->text, "[");
        for (const char *const *one = how->until; *one; one++)
            if (add_end(call, ends, *one))
                return -1;
        text_words(&call->text, "]");
    }
    return how->labels ? add_labels(call, how->labels) : 0;
}

int pagsrv_post(struct pagsrv *board, const char *name, int fd, const struct pagsrv_posting *how)
{
    static const struct pagsrv_posting plain;
    struct ends ends = { .count = 0 };
    struct pagsrv_entry entry;
    struct json parameters;
    struct call call;
    int failed, error;

    if (board_announce(board) || call_begin(board, &call, "Post"))
        return -1;
    failed = write_post(&call, &ends, name, fd, how ? how : &plain) ||
        call_plain(board, &call, &parameters) || entry_of(board, parameters, &entry);
    error = errno;
    while (ends.count)
        close(ends.pidfds[--ends.count]);
    errno = error;
    return failed ? -1 : 0;
}
