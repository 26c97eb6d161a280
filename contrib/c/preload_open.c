/* SPDX-License-Identifier: MIT */
/* open(2) and its kin.
 *
 * The law: what is opened is what srv.h says, and O_CLOEXEC is the caller's to ask for.  It refuses
 * to know what is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "preload.h"

struct opening {
    const char *name;
    int flags;
    char full[SRV_FULL];
};

static int ask(struct srv *srv, void *with)
{
    struct opening *this = with;

    return srv_open(srv, this->name, this->flags, this->full);
}

int door_open(const char *name, int flags)
{
    struct opening this = { .name = name, .flags = flags };
    int before = errno, fd;

    fd = door_ask(ask, &this);
    if (fd == SRV_DIRECTORY)
        return door_open_directory(name, flags);
    if (fd == SRV_HANDLE)
        fd = door_handle(this.full);
    if (fd < 0)
        return -1;
    if (!(flags & O_CLOEXEC))
        fcntl(fd, F_SETFD, 0);
    errno = before;
    return fd;
}

/* ---- before libc's ------------------------------------------------------------------------- */

#define WANTS_MODE(flags) ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE)

#define OPEN(function)                                                  \
    DOOR int function(const char *path, int flags, ...)                 \
    {                                                                   \
        const char *name = door_name(path);                             \
        mode_t mode = 0;                                                \
        va_list more;                                                   \
                                                                        \
        if (name)                                                       \
            return door_open(name, flags);                              \
        if (WANTS_MODE(flags)) {                                        \
            va_start(more, flags);                                      \
            mode = va_arg(more, mode_t);                                \
            va_end(more);                                               \
        }                                                               \
        return NEXT(function)(path, flags, mode);                       \
    }

#define OPENAT(function)                                                \
    DOOR int function(int dir, const char *path, int flags, ...)        \
    {                                                                   \
        const char *name = door_name_at(dir, path);                     \
        mode_t mode = 0;                                                \
        va_list more;                                                   \
                                                                        \
        if (name)                                                       \
            return door_open(name, flags);                              \
        if (WANTS_MODE(flags)) {                                        \
            va_start(more, flags);                                      \
            mode = va_arg(more, mode_t);                                \
            va_end(more);                                               \
        }                                                               \
        return NEXT(function)(dir, path, flags, mode);                  \
    }

#define CREAT(function)                                                 \
    DOOR int function(const char *path, mode_t mode)                    \
    {                                                                   \
        const char *name = door_name(path);                             \
                                                                        \
        return name ? door_open(name, O_CREAT | O_WRONLY | O_TRUNC)     \
                    : NEXT(function)(path, mode);                       \
    }

/* What programs built with _FORTIFY_SOURCE call where they give no mode. */
#define OPEN_2(function)                                                \
    DOOR int function(const char *path, int flags);                     \
    DOOR int function(const char *path, int flags)                      \
    {                                                                   \
        const char *name = door_name(path);                             \
                                                                        \
        return name ? door_open(name, flags) : NEXT(function)(path, flags); \
    }

#define OPENAT_2(function)                                              \
    DOOR int function(int dir, const char *path, int flags);            \
    DOOR int function(int dir, const char *path, int flags)             \
    {                                                                   \
        const char *name = door_name_at(dir, path);                     \
                                                                        \
        return name ? door_open(name, flags) : NEXT(function)(dir, path, flags); \
    }

int __open(const char *path, int flags, ...);
int __open64(const char *path, int flags, ...);

OPEN(open)
OPEN(open64)
OPEN(__open)
OPEN(__open64)
OPENAT(openat)
OPENAT(openat64)
CREAT(creat)
CREAT(creat64)
OPEN_2(__open_2)
OPEN_2(__open64_2)
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)
