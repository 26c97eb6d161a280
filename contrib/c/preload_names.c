/* SPDX-License-Identifier: MIT */
/* What changes names, and where names are looked up: unlink(2), rename(2), chdir(2).
 *
 * The law: an entry is removed and renamed with the caller's rights on the board, and never moved
 * out of --at or into it (EXDEV).  It refuses to know what was posted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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
