/* SPDX-License-Identifier: MIT */
/* What a call is about, and whether it is ours.
 *
 * The law: nothing is asked but the caller's memory and, where the path's text leaves it open,
 * where its directory is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "exec.h"

/* Where its arguments are: the directory's (-1: AT_FDCWD), the path's, the flags' or result's. */
struct shape {
    int number;
    enum deed deed;
    int dir, path, more, flags;
};

static const struct shape shapes[] = {
#ifdef SYS_open
    { SYS_open, OPEN, -1, 0, -1, 1 },           { SYS_creat, OPEN, -1, 0, -1, -1 },
    { SYS_access, ACCESS, -1, 0, -1, 1 },       { SYS_unlink, UNLINK, -1, 0, -1, -1 },
    { SYS_rename, RENAME, -1, 0, 1, -1 },       { SYS_stat, STAT, -1, 0, 1, -1 },
    { SYS_lstat, STAT, -1, 0, 1, -1 },
    { SYS_mkdir, REFUSE, -1, 0, -1, -1 },       { SYS_rmdir, REFUSE, -1, 0, -1, -1 },
    { SYS_mknod, REFUSE, -1, 0, -1, -1 },       { SYS_symlink, REFUSE, -1, 1, -1, -1 },
    { SYS_link, REFUSE, -1, 1, -1, -1 },        { SYS_chmod, REFUSE, -1, 0, -1, -1 },
#endif
    { SYS_mkdirat, REFUSE, 0, 1, -1, -1 },      { SYS_mknodat, REFUSE, 0, 1, -1, -1 },
    { SYS_symlinkat, REFUSE, 1, 2, -1, -1 },    { SYS_linkat, REFUSE, 2, 3, -1, -1 },
    { SYS_fchmodat, REFUSE, 0, 1, -1, -1 },     { SYS_truncate, REFUSE, -1, 0, -1, -1 },
    { SYS_openat, OPEN, 0, 1, -1, 2 },          { SYS_openat2, OPEN, 0, 1, 2, -1 },
    { SYS_faccessat, ACCESS, 0, 1, -1, 2 },     { SYS_faccessat2, ACCESS, 0, 1, -1, 2 },
    { SYS_unlinkat, UNLINK, 0, 1, -1, 2 },      { SYS_newfstatat, STAT, 0, 1, 2, 3 },
    { SYS_statx, STATX, 0, 1, 4, 2 },
#ifdef SYS_renameat
    { SYS_renameat, RENAME, 0, 1, 3, -1 },
#endif
    { SYS_renameat2, RENAME, 0, 1, 3, 4 },      { SYS_getxattr, XATTR, -1, 0, -1, -1 },
    { SYS_lgetxattr, XATTR, -1, 0, -1, -1 },    { SYS_listxattr, XATTR, -1, 0, -1, -1 },
    { SYS_llistxattr, XATTR, -1, 0, -1, -1 },   { SYS_write, WRITE, -1, -1, 1, -1 },
    { SYS_pwrite64, WRITE, -1, -1, 1, -1 },     { SYS_writev, WRITE, -1, -1, 1, -1 },
};

static const struct shape *shape_of(int number)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        if (shapes[i].number == number)
            return &shapes[i];
    return NULL;
}

/* A name that is too long is left to the kernel, which says so. */
static int fits(const char *name)
{
    while (*name) {
        size_t length = strcspn(name, "/");

        if (length > NAME_MAX)
            return 0;
        name += length + (name[length] == '/');
    }
    return 1;
}

/* Where openat2(2) is to stay beneath a directory, such a path is the kernel's to judge. */
static int climbs(const char *path)
{
    if (*path == '/')
        return 1;
    while (*path) {
        size_t length = strcspn(path, "/");

        if (length == 2 && memcmp(path, "..", 2) == 0)
            return 1;
        path += length + (path[length] == '/');
    }
    return 0;
}

enum { ELSEWHERE, HERE, WITH_SLASH = 2, CLIMBS = 4 };

static int name_at(const struct door *door, struct request *request, int dir, uint64_t where,
                   char name[PATH_MAX])
{
    pid_t pid = (pid_t)request->call.pid;
    char *path = request->path, base[PATH_MAX];

    if (caller_path(pid, where, path) < 0 || !*path)
        return ELSEWHERE;
    if (*path != '/' && caller_directory(pid, dir, base) < 0)
        return ELSEWHERE;
    if (!path_name(&door->place, base, path, name, &request->doubtful) || !fits(name))
        return ELSEWHERE;
    return HERE | (path[strlen(path) - 1] == '/' ? WITH_SLASH : 0) | (climbs(path) ? CLIMBS : 0);
}

static int open_flags(const struct seccomp_data *data, const struct shape *shape, pid_t pid,
                      int here, int *flags)
{
    struct open_how how;

    *flags = O_WRONLY | O_CREAT | O_TRUNC;      /* creat(2) */
    if (shape->flags >= 0)
        *flags = (int)data->args[shape->flags];
    if (data->nr != SYS_openat2)
        return 0;
    if (data->args[3] < sizeof(how) || caller_read(pid, data->args[2], &how, sizeof(how)) < 0)
        return -1;
    *flags = (int)how.flags;
    return here & CLIMBS && how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) ? -1 : 0;
}

static int dir_of(const struct seccomp_data *data, int argument)
{
    return argument < 0 ? AT_FDCWD : (int)data->args[argument];
}

/* Of two names at least one is ours; the other is "" if it is not: srv_rename() refuses that. */
static enum deed look_at_names(struct door *door, struct request *request,
                               const struct shape *shape)
{
    const struct seccomp_data *data = &request->call.data;
    int to = shape->dir < 0 ? -1 : shape->dir + 2, from_us, to_us, doubtful;

    from_us = name_at(door, request, dir_of(data, shape->dir), data->args[shape->path],
                      request->name);
    doubtful = from_us && request->doubtful;
    to_us = name_at(door, request, dir_of(data, to), data->args[shape->more], request->to);
    doubtful |= to_us && request->doubtful;
    request->doubtful = 0;
    request->flags = from_us && to_us ? 0 : EXDEV;
    if (shape->flags >= 0 && data->args[shape->flags] & ~1ull)  /* RENAME_NOREPLACE is ours */
        request->flags = EINVAL;
    return (from_us || to_us) && !doubtful ? RENAME : NOT_OURS;
}

static enum deed look_at_name(struct door *door, struct request *request,
                              const struct shape *shape)
{
    const struct seccomp_data *data = &request->call.data;
    pid_t pid = (pid_t)request->call.pid;
    int here = name_at(door, request, dir_of(data, shape->dir), data->args[shape->path],
                       request->name);

    if (here == ELSEWHERE)
        return NOT_OURS;
    request->flags = shape->flags < 0 ? 0 : (int)data->args[shape->flags];
    if (shape->deed == OPEN) {
        if (open_flags(data, shape, pid, here, &request->flags) < 0)
            return NOT_OURS;
        if (here & WITH_SLASH)
            request->flags |= O_DIRECTORY;
    } else if (!*request->name && door->place.ino) {
        return NOT_OURS;        /* the directory itself is the one that is there */
    }
    return shape->deed;
}

enum deed look(struct door *door, struct request *request)
{
    const struct seccomp_data *data = &request->call.data;
    const struct shape *shape = shape_of(data->nr);
    pid_t pid = (pid_t)request->call.pid;

    /* Of what is neither a path's nor a write we only have to know that it is done. */
    if (data->arch != EXEC_ARCH || !shape)
        door->judged = 1;
    if (data->arch != EXEC_ARCH || !shape || !pid)
        return NOT_OURS;
    request->doubtful = 0;
    request->where = shape->more >= 0 ? data->args[shape->more] : 0;
    if (shape->deed == WRITE)
        return door->handles && caller_has_handle(door, pid, (int)data->args[0]) ? WRITE : NOT_OURS;
    if (shape->deed == RENAME)
        return look_at_names(door, request, shape);
    return look_at_name(door, request, shape);
}

int look_again(const struct door *door, const struct request *request)
{
    const struct shape *shape = shape_of(request->call.data.nr);
    int dir = dir_of(&request->call.data, shape->dir);
    char whole[PATH_MAX + 64], *slash;
    struct stat is;

    if (*request->path == '/')
        snprintf(whole, sizeof(whole), "%s", request->path);
    else if (dir == AT_FDCWD)
        snprintf(whole, sizeof(whole), "/proc/%u/cwd/%s", request->call.pid, request->path);
    else
        snprintf(whole, sizeof(whole), "/proc/%u/fd/%d/%s", request->call.pid, dir,
                 request->path);
    slash = strrchr(whole, '/');
    if (*request->name)
        slash[slash == whole] = 0;
    return door->place.ino && stat(whole, &is) == 0 && is.st_dev == door->place.dev &&
           is.st_ino == door->place.ino;
}
