/* SPDX-License-Identifier: MIT */
/* stat(2) and access(2), in all their forms.
 *
 * The law: asked of is the entry, as srv.h shows it, and never the posted file.  It refuses to know
 * descriptors: fstat(2) of what was opened is the kernel's.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "preload.h"

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one struct stat for both families");

struct question {
    const char *name;
    struct stat *found;
    int mode;
};

static int ask_stat(struct srv *srv, void *with)
{
    const struct question *this = with;

    return srv_stat(srv, this->name, this->found);
}

static int ask_access(struct srv *srv, void *with)
{
    const struct question *this = with;

    return srv_access(srv, this->name, this->mode);
}

int door_stat(const char *name, struct stat *found)
{
    struct question this = { .name = name, .found = found };
    int before = errno;

    /* Where there is one, as fstat(2) of what opening it gives. */
    if (!*name && NEXT(stat)(door_at(), found) == 0 && S_ISDIR(found->st_mode))
        return 0;
    errno = before;
    return door_ask(ask_stat, &this);
}

int door_access(const char *name, int mode)
{
    struct question this = { .name = name, .mode = mode };

    return door_ask(ask_access, &this);
}

/* ---- before libc's ------------------------------------------------------------------------- */

#define STAT(function, type)                                                    \
    DOOR int function(const char *path, struct type *found)                     \
    {                                                                           \
        const char *name = door_name(path);                                     \
                                                                                \
        return name ? door_stat(name, (struct stat *)found)                     \
                    : NEXT(function)(path, found);                              \
    }

#define XSTAT(function, type)       /* before glibc 2.33 */                     \
    DOOR int function(int version, const char *path, struct type *found);       \
    DOOR int function(int version, const char *path, struct type *found)        \
    {                                                                           \
        const char *name = door_name(path);                                     \
                                                                                \
        return name ? door_stat(name, (struct stat *)found)                     \
                    : NEXT(function)(version, path, found);                     \
    }

#define FSTATAT(function, type)                                                 \
    DOOR int function(int dir, const char *path, struct type *found, int flags) \
    {                                                                           \
        const char *name = door_name_at(dir, path);                             \
                                                                                \
        return name ? door_stat(name, (struct stat *)found)                     \
                    : NEXT(function)(dir, path, found, flags);                  \
    }

#define FXSTATAT(function, type)                                                \
    DOOR int function(int version, int dir, const char *path,                   \
                      struct type *found, int flags);                           \
    DOOR int function(int version, int dir, const char *path,                   \
                      struct type *found, int flags)                            \
    {                                                                           \
        const char *name = door_name_at(dir, path);                             \
                                                                                \
        return name ? door_stat(name, (struct stat *)found)                     \
                    : NEXT(function)(version, dir, path, found, flags);         \
    }

STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)
XSTAT(__xstat, stat)
XSTAT(__xstat64, stat64)
XSTAT(__lxstat, stat)
XSTAT(__lxstat64, stat64)
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)
FXSTATAT(__fxstatat, stat)
FXSTATAT(__fxstatat64, stat64)

static struct statx_timestamp stamp(struct timespec moment)
{
    return (struct statx_timestamp){ .tv_sec = moment.tv_sec, .tv_nsec = (unsigned)moment.tv_nsec };
}

static int door_statx(const char *name, struct statx *found)
{
    struct stat plain;

    if (door_stat(name, &plain) < 0)
        return -1;
    memset(found, 0, sizeof(*found));
    found->stx_mask = STATX_BASIC_STATS;
    found->stx_blksize = (unsigned)plain.st_blksize;
    found->stx_nlink = (unsigned)plain.st_nlink;
    found->stx_uid = plain.st_uid;
    found->stx_gid = plain.st_gid;
    found->stx_mode = (unsigned short)plain.st_mode;
    found->stx_ino = plain.st_ino;
    found->stx_size = (unsigned long long)plain.st_size;
    found->stx_blocks = (unsigned long long)plain.st_blocks;
    found->stx_atime = stamp(plain.st_atim);
    found->stx_ctime = stamp(plain.st_ctim);
    found->stx_mtime = stamp(plain.st_mtim);
    found->stx_dev_major = major(plain.st_dev);
    found->stx_dev_minor = minor(plain.st_dev);
    return 0;
}

DOOR int statx(int dir, const char *path, int flags, unsigned mask, struct statx *found)
{
    const char *name = door_name_at(dir, path);

    return name ? door_statx(name, found) : NEXT(statx)(dir, path, flags, mask, found);
}

#define ACCESS(function)                                                        \
    DOOR int function(const char *path, int mode)                               \
    {                                                                           \
        const char *name = door_name(path);                                     \
                                                                                \
        return name ? door_access(name, mode) : NEXT(function)(path, mode);     \
    }

ACCESS(access)
ACCESS(euidaccess)
ACCESS(eaccess)

DOOR int faccessat(int dir, const char *path, int mode, int flags)
{
    const char *name = door_name_at(dir, path);

    return name ? door_access(name, mode) : NEXT(faccessat)(dir, path, mode, flags);
}
