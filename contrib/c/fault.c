/* SPDX-License-Identifier: MIT */
/* What went wrong.  Its law is in fault.h. */
#include "fault.h"
#include "pagsrv.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BOARD "org.pagsrv.Board."
#define SERVICE "org.varlink.service."

static _Thread_local char sentence[1024];
static _Thread_local int status;

static const struct {
    const char *wire;
    int error, status;
} table[] = {
    { BOARD "NoEntry", ENOENT, 3 },
    { BOARD "Denied", EACCES, STATUS_DENIED },
    { BOARD "Exists", EEXIST, 5 },
    { BOARD "NoSession", ENOKEY, STATUS_NO_SESSION },
    { BOARD "QuotaExceeded", EDQUOT, STATUS_QUOTA },
    { BOARD "NotAssigned", ENXIO, 9 },
    { BOARD "Loop", ELOOP, 10 },
    { BOARD "TimedOut", ETIMEDOUT, 11 },
    { BOARD "Stale", ESTALE, 12 },
    { SERVICE "InvalidParameter", EINVAL, STATUS_USAGE },
    { SERVICE "MethodNotFound", ENOSYS, STATUS_OTHER },
    { SERVICE "InterfaceNotFound", ENOSYS, STATUS_OTHER },
    { BOARD "ExpectedMore", EPROTO, STATUS_OTHER },
    { BOARD "ProtocolError", EPROTO, STATUS_OTHER },
};

const char *pagsrv_sentence(void)
{
    return sentence;
}

int pagsrv_status(void)
{
    return status;
}

/* One line of whole characters, whatever was said to us. */
static void make_plain(size_t size)
{
    size_t at = 0, step;

    while (at < size && (step = utf8_character(sentence + at, sentence + size)))
        at += step;
    sentence[at] = 0;
    for (char *letter = sentence; *letter; letter++)
        if ((unsigned char)*letter < ' ' || *letter == 0x7f)
            *letter = ' ';
}

int fault(int error, int exits, const char *format, ...)
{
    char said[sizeof sentence];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(said, sizeof said, format, arguments);    /* an argument may be the last sentence */
    va_end(arguments);
    memcpy(sentence, said, sizeof said);
    make_plain(strlen(sentence));
    status = exits;
    errno = error;
    return -1;
}

int fault_told(struct json error, struct json parameters)
{
    char said[sizeof sentence] = "", name[64] = "";

    json_cut(json_member(parameters, "message"), said, sizeof said);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!json_is(error, table[i].wire))
            continue;
        if (table[i].error == ENOSYS) {
            json_cut(json_member(parameters, "method"), name, sizeof name);
            json_cut(json_member(parameters, "interface"), name, sizeof name);
            return fault(ENOSYS, table[i].status, "the broker does not know %s: it is of another "
                         "version; see `pagsrv doctor`", name);
        }
        return fault(table[i].error, table[i].status, "%s", said[0] ? said : table[i].wire);
    }
    json_cut(error, name, sizeof name);
    return fault(EPROTO, STATUS_OTHER,
                 "the broker answered with an error we do not know: %s", name);
}
