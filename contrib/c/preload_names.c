/* SPDX-License-Identifier: MIT */
/* What changes names: unlink(2), rename(2), chdir(2), and all that an entry is not for.
 *
 * The law: an entry is removed and renamed with the caller's rights on the board; it is never
 * moved out of --at or into it (EXDEV), linked, made a directory, or changed by its path (EPERM).
 * It refuses to know what was posted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "preload.h"

static int failed(int error)
{
    errno = error;
    return -1;
}

/* ---- removing ------------------------------------------------------------------------------ */

struct question {
    const char *name, *to;
};

static int ask_unlink(struct srv *srv, void *with)
{
    const struct question *this = with;

    return srv_unlink(srv, this->name);
}

static int remove_entry(const char *name)
{
    struct question this = { .name = name };

    return door_ask(ask_unlink, &this);
}

static int remove_directory(const char *name)
{
    if (srv_is_directory(name))
        return failed(EBUSY);
    return door_access(name, F_OK) < 0 ? -1 : failed(ENOTDIR);
}

DOOR int unlink(const char *path)
{
    const char *name = door_name(path);

    return name ? remove_entry(name) : NEXT(unlink)(path);
}

DOOR int remove(const char *path)
{
    const char *name = door_name(path);

    return name ? remove_entry(name) : NEXT(remove)(path);
}

DOOR int rmdir(const char *path)
{
    const char *name = door_name(path);

    return name ? remove_directory(name) : NEXT(rmdir)(path);
}

DOOR int unlinkat(int dir, const char *path, int flags)
{
    const char *name = door_name_at(dir, path);

    if (!name)
        return NEXT(unlinkat)(dir, path, flags);
    return flags & AT_REMOVEDIR ? remove_directory(name) : remove_entry(name);
}

/* ---- renaming ------------------------------------------------------------------------------ */

static int ask_rename(struct srv *srv, void *with)
{
    const struct question *this = with;

    return srv_rename(srv, this->name, this->to);
}

static int rename_entry(const char *name, const char *to, unsigned flags)
{
    struct question this = { name, to };

    if (!name || !to)
        return failed(EXDEV);
    if (flags & ~RENAME_NOREPLACE)
        return failed(EINVAL);
    return door_ask(ask_rename, &this);
}

DOOR int rename(const char *path, const char *to)
{
    const char *name = door_name(path), *new = door_name(to);

    return name || new ? rename_entry(name, new, 0) : NEXT(rename)(path, to);
}

DOOR int renameat(int dir, const char *path, int to_dir, const char *to)
{
    const char *name = door_name_at(dir, path), *new = door_name_at(to_dir, to);

    return name || new ? rename_entry(name, new, 0) : NEXT(renameat)(dir, path, to_dir, to);
}

DOOR int renameat2(int dir, const char *path, int to_dir, const char *to, unsigned flags)
{
    const char *name = door_name_at(dir, path), *new = door_name_at(to_dir, to);

    return name || new ? rename_entry(name, new, flags)
                       : NEXT(renameat2)(dir, path, to_dir, to, flags);
}

/* ---- going there --------------------------------------------------------------------------- */

static int change_to_entry(const char *name)
{
    int fd = door_open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), answer;

    if (fd < 0)
        return -1;
    answer = NEXT(fchdir)(fd);
    NEXT(close)(fd);
    return answer;
}

DOOR int chdir(const char *path)
{
    const char *name = door_name(path);
    int answer = name && *name ? change_to_entry(name) : NEXT(chdir)(name ? door_at() : path);

    if (answer == 0)
        door_moved(name && !*name);
    return answer;
}

DOOR int fchdir(int fd)
{
    int answer = NEXT(fchdir)(fd);

    if (answer == 0)
        door_moved(door_is_directory(fd));
    return answer;
}

/* ---- what an entry is not for -------------------------------------------------------------- */

DOOR int mkdir(const char *path, mode_t mode)
{
    const char *name = door_name(path);

    if (!name)
        return NEXT(mkdir)(path, mode);
    return failed(door_access(name, F_OK) < 0 ? EPERM : EEXIST);
}

DOOR int mkdirat(int dir, const char *path, mode_t mode)
{
    const char *name = door_name_at(dir, path);

    if (!name)
        return NEXT(mkdirat)(dir, path, mode);
    return failed(door_access(name, F_OK) < 0 ? EPERM : EEXIST);
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

DOOR int symlink(const char *target, const char *path)
{
    return door_name(path) ? failed(EPERM) : NEXT(symlink)(target, path);
}

DOOR int symlinkat(const char *target, int dir, const char *path)
{
    return door_name_at(dir, path) ? failed(EPERM) : NEXT(symlinkat)(target, dir, path);
}

DOOR int chmod(const char *path, mode_t mode)
{
    return door_name(path) ? failed(EPERM) : NEXT(chmod)(path, mode);
}

DOOR int truncate(const char *path, off_t size)
{
    return door_name(path) ? failed(EPERM) : NEXT(truncate)(path, size);
}

static ssize_t no_link(const char *name)
{
    return door_access(name, F_OK) < 0 ? -1 : failed(EINVAL);
}

DOOR ssize_t readlink(const char *path, char *target, size_t size)
{
    const char *name = door_name(path);

    return name ? no_link(name) : NEXT(readlink)(path, target, size);
}

DOOR ssize_t readlinkat(int dir, const char *path, char *target, size_t size)
{
    const char *name = door_name_at(dir, path);

    return name ? no_link(name) : NEXT(readlinkat)(dir, path, target, size);
}

/* ls -l asks for access control lists; there are none. */
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
