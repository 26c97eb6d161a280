/* SPDX-License-Identifier: MIT */
/* Streams: fopen(3), freopen(3), and what they hold back until fflush(3) and fclose(3).
 *
 * The law: a stream of ours is libc's own, around a descriptor that door_open() gave.  A number that
 * cannot be assigned fails the call that wrote it out, and marks the stream, as a full disk would.
 * It refuses to know paths beyond whether they are ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

#define FAILED 0x20     /* of _flags: what ferror(3) looks at, part of glibc's ABI (putc_unlocked) */

static int flags_of(const char *mode)
{
    int flags = mode[0] == 'w' ? O_CREAT | O_TRUNC : mode[0] == 'a' ? O_CREAT | O_APPEND : 0;
    const char *end = strchrnul(mode, ',');

    if (memchr(mode, '+', end - mode))
        flags |= O_RDWR;
    else
        flags |= mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    if (memchr(mode, 'x', end - mode))
        flags |= O_EXCL;
    if (memchr(mode, 'e', end - mode))
        flags |= O_CLOEXEC;
    return flags;
}

static FILE *stream(const char *name, const char *mode)
{
    int fd, error;
    FILE *made;

    if (!strchr("rwa", mode[0]) || !mode[0]) {
        errno = EINVAL;
        return NULL;
    }
    fd = door_open(name, flags_of(mode));
    if (fd < 0)
        return NULL;
    made = fdopen(fd, mode);
    if (made)
        return made;
    /* What was posted is not open for that. */
    error = errno == EINVAL ? EACCES : errno;
    NEXT(close)(fd);
    errno = error;
    return NULL;
}

/* libc's stream gets a descriptor of the right mode in its own way, and then ours in its place. */
static FILE *again(const char *name, const char *mode, FILE *old)
{
    int flags = flags_of(mode), fd = door_open(name, flags), error;
    FILE *made = fd < 0 ? NULL : NEXT(freopen)("/dev/null", mode, old);

    if (!made)
        NEXT(fclose)(old);
    if (made && NEXT(dup3)(fd, fileno(made), flags & O_CLOEXEC) < 0) {
        NEXT(fclose)(made);
        made = NULL;
    }
    error = errno;
    if (fd >= 0)
        NEXT(close)(fd);
    errno = error;
    return made;
}

DOOR FILE *fopen(const char *path, const char *mode)
{
    const char *name = door_name(path);

    return name ? stream(name, mode) : NEXT(fopen)(path, mode);
}

DOOR FILE *fopen64(const char *path, const char *mode)
{
    const char *name = door_name(path);

    return name ? stream(name, mode) : NEXT(fopen64)(path, mode);
}

DOOR FILE *freopen(const char *path, const char *mode, FILE *old)
{
    const char *name = door_name(path);

    return name ? again(name, mode, old) : NEXT(freopen)(path, mode, old);
}

DOOR FILE *freopen64(const char *path, const char *mode, FILE *old)
{
    const char *name = door_name(path);

    return name ? again(name, mode, old) : NEXT(freopen64)(path, mode, old);
}

/* ---- what was held back -------------------------------------------------------------------- */

DOOR int fflush(FILE *which)
{
    int answer = NEXT(fflush)(which);

    if (!door_handles())
        return answer;
    if (!which) {
        door_settle_all();
        return answer;
    }
    if (answer == 0 && fileno(which) >= 0 && door_settle(fileno(which)) < 0) {
        which->_flags |= FAILED;
        return EOF;
    }
    return answer;
}

DOOR int fclose(FILE *which)
{
    int error = 0, answer;

    if (door_handles() && __fwriting(which) && fflush(which) == EOF)
        error = errno;
    answer = NEXT(fclose)(which);
    if (answer == 0 && error) {
        errno = error;
        answer = EOF;
    }
    return answer;
}
