/* SPDX-License-Identifier: MIT */
/* Calls over the socket: one packet out, one packet in, and what it means when that fails.
 *
 * The law: board.h's.  A descriptor that comes is close-on-exec and the board's at once.  It
 * refuses to know what the methods mean.
 */
#include "board.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void board_drop(struct pagsrv *board)
{
    while (board->count)
        close(board->fds[--board->count]);
}

void board_end(struct pagsrv *board, enum over how)
{
    int error = errno;

    board_drop(board);
    board->over = how;
    shutdown(board->sock, SHUT_RDWR);
    errno = error;
}

static int is_over(const struct pagsrv *board)
{
    if (board->over == GIVEN_UP)
        return fault(ECONNREFUSED, STATUS_NO_BROKER, "this connection to the broker at %s was "
                     "given up in the middle of a call, and is closed for that; connect again",
                     board->directory);
    return fault(ECONNREFUSED, STATUS_NO_BROKER, "the broker at %s hung up: it was stopped, or the "
                 "session proved on this connection has ended; connect again", board->directory);
}

int board_nonsense(struct pagsrv *board, const char *why)
{
    board_end(board, GIVEN_UP);
    return fault(EPROTO, STATUS_OTHER, "%s", why);
}

/* ---- written ------------------------------------------------------------------------------- */

int call_begin(struct pagsrv *board, struct call *call, const char *method)
{
    if (board->pid != getpid())
        return fault(EACCES, STATUS_DENIED, "this connection acts for process %d, which connected: "
                     "a child of fork(2) connects anew", (int)board->pid);
    if (board->over)
        return is_over(board);
    if (board->counted_on && strcmp(method, "Open") && board_recount(board))
        return -1;
    call->text = (struct text){ .bytes = board->out, .room = sizeof board->out };
    call->count = 0;
    call->more = call->interrupted = 0;
    text_words(&call->text, "{\"method\":\"org.pagsrv.Board.");
    text_words(&call->text, method);
    text_words(&call->text, "\",\"parameters\":{");
    return 0;
}

void call_string(struct call *call, const char *name, const char *value)
{
    if (!value)
        return;
    text_member(&call->text, name);
    text_string(&call->text, value, strlen(value));
}

void call_name(struct call *call, const char *name, const char *scope)
{
    call_string(call, "name", name ? name : "");
    call_string(call, "scope", scope);
}

int call_fd(struct call *call, const char *name, int fd)
{
    if (call->count >= MESSAGE_FDS)
        return fault(EINVAL, STATUS_USAGE, "one call takes at most %d descriptors along",
                     MESSAGE_FDS);
    text_member(&call->text, name);
    text_number(&call->text, call->count);
    call->fds[call->count++] = fd;
    return 0;
}

/* ---- sent ---------------------------------------------------------------------------------- */

static int send_call(struct pagsrv *board, struct call *call)
{
    union {
        char room[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
        struct cmsghdr align;
    } beside;
    struct iovec bytes = { call->text.bytes, call->text.used };
    struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };

    if (call->count) {
        message.msg_control = &beside;
        message.msg_controllen = CMSG_SPACE(call->count * sizeof(int));
        memset(&beside, 0, message.msg_controllen);
        beside.align.cmsg_level = SOL_SOCKET;
        beside.align.cmsg_type = SCM_RIGHTS;
        beside.align.cmsg_len = CMSG_LEN(call->count * sizeof(int));
        memcpy(CMSG_DATA(&beside.align), call->fds, call->count * sizeof(int));
    }
    while (sendmsg(board->sock, &message, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR)
            continue;
        /* A broker that is gone may have left its reason to be read. */
        if (errno == EPIPE || errno == ECONNRESET)
            return 0;
        return fault(errno, STATUS_OTHER, call->count ? "the call and its descriptors cannot be "
                     "sent to the broker: %m" : "the call cannot be sent to the broker: %m");
    }
    return 0;
}

/* ---- read ---------------------------------------------------------------------------------- */

static void keep(struct pagsrv *board, struct msghdr *message)
{
    for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one; one = CMSG_NXTHDR(message, one)) {
        size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(one) + i * sizeof fd, sizeof fd);
            if (board->count < MESSAGE_FDS)
                board->fds[board->count++] = fd;
            else
                close(fd);
        }
    }
}

/* One packet: its size, or -1 by its fault.  Lost descriptors are EMFILE, and the board goes on. */
static ssize_t receive(struct pagsrv *board, int interrupted)
{
    char beside[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
    struct iovec bytes = { board->in, sizeof board->in };
    struct msghdr message;
    int resets = 0;
    ssize_t size;

    board_drop(board);
    do {
        message = (struct msghdr){ .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = beside,
                                   .msg_controllen = sizeof beside };
        size = recvmsg(board->sock, &message, MSG_CMSG_CLOEXEC);
        /* What the broker said before it hung up lies behind the reset. */
    } while (size < 0 && ((errno == EINTR && !interrupted) ||
                          (errno == ECONNRESET && !resets++)));
    if (size > 0)
        keep(board, &message);
    if (size == 0 || (size < 0 && errno == ECONNRESET)) {
        board_end(board, HUNG_UP);
        return is_over(board);
    }
    if (size < 0) {
        fault(errno, STATUS_OTHER, "the broker's answer cannot be read: %m");
        board_end(board, GIVEN_UP);
        return -1;
    }
    if (message.msg_flags & MSG_TRUNC || size > MESSAGE_BYTES)
        return board_nonsense(board, "the broker sent more than 65536 bytes at once");
    if (!(message.msg_flags & MSG_CTRUNC))
        return size;
    board_drop(board);
    return fault(EMFILE, STATUS_OTHER, "descriptors that the broker sent were lost: this process "
                 "may hold no more of them; close some, or raise the limit (ulimit -n)");
}

/* The next answer's parameters; 1 if further ones follow, 0, or -1. */
static int answer(struct pagsrv *board, struct json *parameters, int interrupted)
{
    ssize_t size = receive(board, interrupted);
    struct json reply, error;

    if (size < 0)
        return -1;
    reply = json_check(board->in, (size_t)size);
    *parameters = json_member(reply, "parameters");
    error = json_member(reply, "error");
    if (json_kind(error) == 's') {
        board_drop(board);
        fault_told(error, *parameters);
        if (errno == EPROTO && !json_is(error, "org.pagsrv.Board.ExpectedMore"))
            board_end(board, GIVEN_UP);
        return -1;
    }
    if (json_kind(reply) != 'o' || json_kind(*parameters) == 'l' ||
        (error.at && json_kind(error) != '0'))
        return board_nonsense(board, "the broker's answer is no Varlink reply");
    return json_bool(json_member(reply, "continues"));
}

static int make(struct pagsrv *board, struct call *call, struct json *parameters)
{
    text_words(&call->text, call->more ? "},\"more\":true}" : "}}");
    if (call->text.not_utf8)
        return fault(EINVAL, STATUS_USAGE, "what was to be said to the broker is not UTF-8");
    if (call->text.too_long)
        return fault(EINVAL, STATUS_USAGE, "the call has more than %d bytes: ask for less",
                     MESSAGE_BYTES);
    if (send_call(board, call))
        return -1;
    return answer(board, parameters, call->interrupted);
}

int call_make(struct pagsrv *board, struct call *call, struct json *parameters)
{
    int more = make(board, call, parameters);

    if (more > 0 && !call->more)
        return board_nonsense(board, "the broker promised more answers than the call has");
    return more;
}

int call_more(struct pagsrv *board, struct json *parameters)
{
    return answer(board, parameters, 0);
}

int call_plain(struct pagsrv *board, struct call *call, struct json *parameters)
{
    int more = call_make(board, call, parameters);

    if (more >= 0 && board->count)
        return board_nonsense(board, "the broker sent a descriptor that nobody asked for");
    return more;
}

int board_fds(struct pagsrv *board, struct json indices, size_t count, int *fds)
{
    struct json index = json_kind(indices) == 'l' ? json_first(indices) : indices;
    uint64_t number;
    size_t told = 0;

    while (index.at && told < count && !json_unsigned(index, &number) && number == told) {
        told++;
        index = json_kind(indices) == 'l' ? json_next(indices, index)
            : (struct json){ NULL, NULL };
    }
    if (index.at || told != count || board->count != count)
        return board_nonsense(board, "the broker's answer speaks of other descriptors than it "
                              "brought");
    memcpy(fds, board->fds, count * sizeof *fds);
    board->count = 0;
    return 0;
}
