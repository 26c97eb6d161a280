/* SPDX-License-Identifier: MIT */
/* Is this path ours?  --at is $PAGSRV_AT, or /srv.
 *
 * The law: text only, as far as the path goes; what is not ours is known after the first letter
 * that differs.  A path with .. in it is left to the kernel, and so is a relative one, unless the
 * current directory (or the directory given) is --at itself.  It refuses to know entries.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

static struct {
    char at[PATH_MAX];     /* "" until the library is ready: nothing is ours before that */
    volatile bool here;     /* the current directory is --at */
    volatile bool opened;     /* the two below are known */
    dev_t dev;
    ino_t ino;
} door;

__attribute__((constructor)) static void begin(void)
{
    const char *at = secure_getenv("PAGSRV_AT");
    char cwd[PATH_MAX];
    size_t length;

    if (!at || *at != '/')
        at = "/srv";
    length = strlen(at);
    while (length > 1 && at[length - 1] == '/')
        length--;
    if (length < 2 || length >= sizeof(door.at))
        return;
    memcpy(door.at, at, length);
    door.here = getcwd(cwd, sizeof(cwd)) && strcmp(cwd, door.at) == 0;
}

const char *door_at(void)
{
    return door.at;
}

void door_moved(bool here)
{
    door.here = here;
}

/* What is left of a path beneath --at; NULL if it climbs. */
static const char *beneath(const char *rest)
{
    const char *part;

    while (*rest == '/' || (*rest == '.' && (rest[1] == '/' || !rest[1])))
        rest++;
    for (part = rest; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || !part[2]))
            return NULL;
    }
    return rest;
}

static const char *under(const char *path)
{
    const char *at = door.at;

    if (!*at)
        return NULL;
    for (; *at; at++, path++) {
        if (*path != *at)
            return NULL;
        while (*at == '/' && path[1] == '/')
            path++;
    }
    return *path == '/' || !*path ? beneath(path) : NULL;
}

const char *door_name(const char *path)
{
    if (!path || !*path)
        return NULL;
    if (*path == '/')
        return under(path);
    return door.here ? beneath(path) : NULL;
}

const char *door_name_at(int dir, const char *path)
{
    if (dir == AT_FDCWD || !path || *path == '/' || !*path)
        return door_name(path);
    return door_is_directory(dir) ? beneath(path) : NULL;
}

bool door_is_directory(int fd)
{
    struct stat found;
    int before = errno;
    bool ours = door.opened && fstat(fd, &found) == 0 && found.st_dev == door.dev &&
            found.st_ino == door.ino;

    errno = before;
    return ours;
}

/* Where there is no directory at --at, one that is nowhere any more stands for it. */
static int stand_in(void)
{
    char path[] = "/tmp/pagsrv-at-XXXXXX";
    int fd;

    if (!mkdtemp(path))
        return -1;
    fd = NEXT(open)(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    NEXT(rmdir)(path);
    return fd;
}

int door_open_directory(const char *name, int flags)
{
    int kept = O_RDONLY | O_DIRECTORY | (flags & (O_PATH | O_CLOEXEC));
    int before = errno, fd = *name ? -1 : NEXT(open)(door.at, kept);
    struct stat found;

    if (fd < 0 && (*name || errno == ENOENT || errno == EACCES))
        fd = stand_in();
    if (fd < 0)
        return -1;
    /* What is opened relative to that of a scope is not ours: it is for listing only. */
    if (!*name && fstat(fd, &found) == 0) {
        door.dev = found.st_dev;
        door.ino = found.st_ino;
        door.opened = true;
    }
    errno = before;
    return fd;
}
