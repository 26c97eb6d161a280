/* SPDX-License-Identifier: MIT */
/* What an entry is not for: it is no directory, link, device or pipe by its name, its mask is not
 * a mode, and it has no attributes.
 *
 * The law: said by errno, as by a file system that has none of it; nothing of the kind ever
 * reaches a directory that lies at --at.  It refuses to know entries beyond whether they are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "preload.h"

static int failed(int error)
{
    errno = error;
    return -1;
}

static int taken_or(int error, const char *name)
{
    return failed(door_access(name, F_OK) < 0 ? error : EEXIST);
}

/* Of what is there; of what is not, that it is not. */
static int there_but(int error, const char *name)
{
    return door_access(name, F_OK) < 0 ? -1 : failed(error);
}

/* ---- made ---------------------------------------------------------------------------------- */

DOOR int mkdir(const char *path, mode_t mode)
{
    const char *name = door_name(path);

    return name ? taken_or(EPERM, name) : NEXT(mkdir)(path, mode);
}

DOOR int mkdirat(int dir, const char *path, mode_t mode)
{
    const char *name = door_name_at(dir, path);

    return name ? taken_or(EPERM, name) : NEXT(mkdirat)(dir, path, mode);
}

DOOR int mkfifo(const char *path, mode_t mode)
{
    const char *name = door_name(path);

    return name ? taken_or(EPERM, name) : NEXT(mkfifo)(path, mode);
}

DOOR int mknod(const char *path, mode_t mode, dev_t device)
{
    const char *name = door_name(path);

    return name ? taken_or(EPERM, name) : NEXT(mknod)(path, mode, device);
}

DOOR int mknodat(int dir, const char *path, mode_t mode, dev_t device)
{
    const char *name = door_name_at(dir, path);

    return name ? taken_or(EPERM, name) : NEXT(mknodat)(dir, path, mode, device);
}

DOOR int symlink(const char *target, const char *path)
{
    const char *name = door_name(path);

    return name ? taken_or(EPERM, name) : NEXT(symlink)(target, path);
}

DOOR int symlinkat(const char *target, int dir, const char *path)
{
    const char *name = door_name_at(dir, path);

    return name ? taken_or(EPERM, name) : NEXT(symlinkat)(target, dir, path);
}

DOOR int link(const char *path, const char *to)
{
    return door_name(path) || door_name(to) ? failed(EPERM) : NEXT(link)(path, to);
}

DOOR int linkat(int dir, const char *path, int to_dir, const char *to, int flags)
{
    return door_name_at(dir, path) || door_name_at(to_dir, to)
               ? failed(EPERM) : NEXT(linkat)(dir, path, to_dir, to, flags);
}

/* ---- changed by its name ------------------------------------------------------------------- */

DOOR int chmod(const char *path, mode_t mode)
{
    const char *name = door_name(path);

    return name ? there_but(EPERM, name) : NEXT(chmod)(path, mode);
}

DOOR int fchmodat(int dir, const char *path, mode_t mode, int flags)
{
    const char *name = door_name_at(dir, path);

    return name ? there_but(EPERM, name) : NEXT(fchmodat)(dir, path, mode, flags);
}

DOOR int chown(const char *path, uid_t uid, gid_t gid)
{
    const char *name = door_name(path);

    return name ? there_but(EPERM, name) : NEXT(chown)(path, uid, gid);
}

DOOR int lchown(const char *path, uid_t uid, gid_t gid)
{
    const char *name = door_name(path);

    return name ? there_but(EPERM, name) : NEXT(lchown)(path, uid, gid);
}

DOOR int fchownat(int dir, const char *path, uid_t uid, gid_t gid, int flags)
{
    const char *name = door_name_at(dir, path);

    return name ? there_but(EPERM, name) : NEXT(fchownat)(dir, path, uid, gid, flags);
}

DOOR int utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
    const char *name = door_name_at(dir, path);

    return name ? there_but(EPERM, name) : NEXT(utimensat)(dir, path, times, flags);
}

DOOR int truncate(const char *path, off_t size)
{
    const char *name = door_name(path);

    return name ? there_but(EPERM, name) : NEXT(truncate)(path, size);
}

DOOR int truncate64(const char *path, off64_t size)
{
    const char *name = door_name(path);

    return name ? there_but(EPERM, name) : NEXT(truncate64)(path, size);
}

/* ---- read from its name -------------------------------------------------------------------- */

DOOR ssize_t readlink(const char *path, char *target, size_t size)
{
    const char *name = door_name(path);

    return name ? there_but(EINVAL, name) : NEXT(readlink)(path, target, size);
}

DOOR ssize_t readlinkat(int dir, const char *path, char *target, size_t size)
{
    const char *name = door_name_at(dir, path);

    return name ? there_but(EINVAL, name) : NEXT(readlinkat)(dir, path, target, size);
}

/* ls -l asks for access control lists. */
#define GETXATTR(function)                                                      \
    DOOR ssize_t function(const char *path, const char *which, void *value, size_t size) \
    {                                                                           \
        return door_name(path) ? failed(ENOTSUP)                                \
                               : NEXT(function)(path, which, value, size);      \
    }

#define LISTXATTR(function)                                                     \
    DOOR ssize_t function(const char *path, char *names, size_t size)           \
    {                                                                           \
        return door_name(path) ? failed(ENOTSUP) : NEXT(function)(path, names, size); \
    }

GETXATTR(getxattr)
GETXATTR(lgetxattr)
LISTXATTR(listxattr)
LISTXATTR(llistxattr)
