/* SPDX-License-Identifier: MIT */
/* execve(2), where the program that comes will not have us.
 *
 * A program that is linked statically, or that gets another environment, would write its number to
 * a handle, and nobody would act upon it.  So a handle that is its stdout or stderr is sealed
 * before: its write fails with EPERM, where it would have been lost.
 *
 * The law: looked at only where there may be a handle; what cannot be read is not judged.  It
 * refuses to know whether the exec succeeds.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

#define NAME "libpagsrv-preload.so"
#define HEADERS 64

static bool is_static(const char *path)
{
    int fd = NEXT(open)(path, O_RDONLY | O_CLOEXEC);
    ElfW(Phdr) parts[HEADERS];
    ElfW(Ehdr) head;
    ssize_t size = -1;
    bool loaded = false;

    if (fd < 0)
        return false;
    if (read(fd, &head, sizeof(head)) == sizeof(head) &&
        memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_phentsize == sizeof(*parts) &&
        head.e_phnum <= HEADERS)
        size = pread(fd, parts, head.e_phnum * sizeof(*parts), (off_t)head.e_phoff);
    NEXT(close)(fd);
    if (size < 0 || (size_t)size != head.e_phnum * sizeof(*parts))
        return false;
    for (int i = 0; i < head.e_phnum; i++)
        loaded |= parts[i].p_type == PT_INTERP;
    return !loaded;
}

static bool preloads(char *const *environment)
{
    for (; environment && *environment; environment++)
        if (strncmp(*environment, "LD_PRELOAD=", 11) == 0)
            return strstr(*environment, NAME) != NULL;
    return false;
}

static void about_to_become(const char *path, char *const *environment)
{
    int before = errno;

    if (path && (!preloads(environment) || is_static(path)))
        for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
            if (door_is_handle(fd))
                fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE);
    errno = before;
}

/* Where execvp(3) will find NAME, in PATH; NULL if nowhere. */
static const char *along_path(const char *name, char path[PATH_MAX])
{
    const char *part = getenv("PATH"), *end;

    if (strchr(name, '/'))
        return name;
    for (part = part ? part : "/bin:/usr/bin"; *part; part = *end ? end + 1 : end) {
        end = strchrnul(part, ':');
        if (snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - part), part, name) < PATH_MAX &&
            NEXT(access)(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

DOOR int execve(const char *path, char *const words[], char *const environment[])
{
    if (door_handles())
        about_to_become(path, environment);
    return NEXT(execve)(path, words, environment);
}

DOOR int execv(const char *path, char *const words[])
{
    if (door_handles())
        about_to_become(path, environ);
    return NEXT(execv)(path, words);
}

DOOR int execvp(const char *name, char *const words[])
{
    char path[PATH_MAX];

    if (door_handles())
        about_to_become(along_path(name, path), environ);
    return NEXT(execvp)(name, words);
}
