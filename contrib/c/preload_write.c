/* SPDX-License-Identifier: MIT */
/* Writing to a handle, and what ends one: close(2), dup2(2), _exit(2).
 *
 * The law: a process that never had a handle pays one look at a flag.  What was written is acted
 * upon before the call returns that could be the last for that descriptor.  dup2(2) does what it
 * does in any case: a failure of ours is not told there.  It refuses to know what a number means.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "preload.h"

DOOR ssize_t write(int fd, const void *text, size_t size)
{
    return door_is_handle(fd) ? door_handle_write(fd, text, size) : NEXT(write)(fd, text, size);
}

DOOR ssize_t __write(int fd, const void *text, size_t size);
DOOR ssize_t __write(int fd, const void *text, size_t size)
{
    return write(fd, text, size);
}

static ssize_t gathered(int fd, const struct iovec *parts, int count)
{
    char text[SRV_TEXT];
    size_t size = 0;

    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > sizeof(text) - size) {
            errno = EINVAL;
            return -1;
        }
        memcpy(text + size, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    return door_handle_write(fd, text, size);
}

DOOR ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return door_is_handle(fd) ? gathered(fd, parts, count) : NEXT(writev)(fd, parts, count);
}

static ssize_t at_offset(int fd, const void *text, size_t size, off_t offset)
{
    if (!offset)
        return door_handle_write(fd, text, size);
    errno = EINVAL;
    return -1;
}

DOOR ssize_t pwrite(int fd, const void *text, size_t size, off_t offset)
{
    return door_is_handle(fd) ? at_offset(fd, text, size, offset)
                              : NEXT(pwrite)(fd, text, size, offset);
}

DOOR ssize_t pwrite64(int fd, const void *text, size_t size, off64_t offset)
{
    return door_is_handle(fd) ? at_offset(fd, text, size, offset)
                              : NEXT(pwrite64)(fd, text, size, offset);
}

/* ---- the end of a descriptor --------------------------------------------------------------- */

DOOR int close(int fd)
{
    int error, answer;

    if (!door_handles() || door_settle(fd) == 0)
        return NEXT(close)(fd);
    error = errno;
    answer = NEXT(close)(fd);
    if (answer == 0)
        errno = error;
    return -1;
}

DOOR int __close(int fd);
DOOR int __close(int fd)
{
    return close(fd);
}

static void about_to_go(int fd)
{
    int before = errno;

    door_settle(fd);
    errno = before;
}

DOOR int dup2(int old, int new)
{
    if (door_handles() && old != new)
        about_to_go(new);
    return NEXT(dup2)(old, new);
}

DOOR int __dup2(int old, int new);
DOOR int __dup2(int old, int new)
{
    return dup2(old, new);
}

DOOR int dup3(int old, int new, int flags)
{
    if (door_handles() && old != new)
        about_to_go(new);
    return NEXT(dup3)(old, new, flags);
}

DOOR int close_range(unsigned first, unsigned last, int flags)
{
    door_settle_all();
    return NEXT(close_range)(first, last, flags);
}

DOOR void closefrom(int first)
{
    door_settle_all();
    NEXT(closefrom)(first);
}

DOOR void _exit(int status)
{
    door_settle_all();
    NEXT(_exit)(status);
    __builtin_unreachable();
}

DOOR void _Exit(int status)
{
    _exit(status);
}
