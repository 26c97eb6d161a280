/* SPDX-License-Identifier: MIT */
/* Which descriptor comes where, and the command.  Its law is in opening.h. */
#include "opening.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST 3                 /* the first descriptor passed to a service (sd_listen_fds(3)) */

/* ---- the plan ------------------------------------------------------------------------------ */

/* NAME=FD taken apart at its last =, if only digits follow; -1 if none do. */
static long split(char *word)
{
    char *equals = strrchr(word, '=');
    long number;

    if (!equals || !equals[1] || equals[1 + strspn(equals + 1, "0123456789")])
        return -1;
    *equals = 0;
    errno = 0;
    number = strtol(equals + 1, NULL, 10);
    return errno || number > INT_MAX ? (long)INT_MAX + 1 : number;
}

static int is_target(const struct opening *opening, size_t count, long number)
{
    for (size_t i = 0; i < count; i++)
        if (opening->targets[i] == number)
            return 1;
    return 0;
}

static long largest(const struct opening *opening)
{
    long most = 0;

    for (size_t i = 0; i < opening->count; i++)
        if (opening->targets[i] > most)
            most = opening->targets[i];
    return most;
}

__attribute__((noreturn))
static void cannot_place(const struct opening *opening, int error)
{
    fail(OTHER, "a descriptor cannot become %ld: %s; take a smaller number, or raise the limit "
         "(ulimit -n)", largest(opening), strerror(error));
}

void opening_plan(struct opening *opening)
{
    long next = FIRST, most;

    opening->targets = memory(opening->count, sizeof *opening->targets);
    for (size_t i = 0; i < opening->count; i++) {
        long number = split(opening->names[i]);

        if (number >= 0 && is_target(opening, i, number))
            fail(USAGE, "two names are to become the same descriptor" LOOK);
        opening->targets[i] = number;
    }
    if (largest(opening) > INT_MAX)
        fail(USAGE, "no descriptor has a number above %d" LOOK, INT_MAX);
    for (size_t i = 0; i < opening->count; i++) {
        if (opening->targets[i] >= 0)
            continue;
        while (is_target(opening, opening->count, next))
            next++;
        opening->targets[i] = next++;
    }
    most = sysconf(_SC_OPEN_MAX);
    /* Before anything is asked of the board: the limit is one more than the largest number. */
    if (most >= 0 && most <= largest(opening))
        cannot_place(opening, EBADF);
}

const char *opening_bare(const char *name)
{
    static const char *const kinds[] = { "session:", "pag:", "user:" };

    for (int i = 0; i < 3; i++) {
        size_t size = strlen(kinds[i]), digits;

        if (strncmp(name, kinds[i], size))
            continue;
        digits = strspn(name + size, "0123456789");
        if (digits && name[size + digits] == '/')
            return name + size + digits + 1;
    }
    return name;
}

/* The bare name of what becomes descriptor TARGET. */
static const char *called(const struct opening *opening, long target)
{
    size_t i = 0;

    while (opening->targets[i] != target)
        i++;
    return opening_bare(opening->names[i]);
}

void opening_environment(const struct opening *opening)
{
    size_t count = opening->count, room = 1;
    char *names, *at, text[24];

    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_PIDFDID");
    if (largest(opening) != FIRST + (long)count - 1 || is_target(opening, count, 0) ||
        is_target(opening, count, 1) || is_target(opening, count, 2))
        return;
    for (size_t i = 0; i < count; i++)
        room += strlen(opening->names[i]) + 1;
    at = names = memory(room, 1);
    for (long target = FIRST; target < FIRST + (long)count; target++) {
        const char *name = called(opening, target);

        if (strchr(name, ':'))
            fail(USAGE, "'%s' has a : in it, which LISTEN_FDNAMES cannot tell; say %s=FD with a "
                 "number that leaves a gap after 2, as 4" LOOK, name, name);
        at += sprintf(at, "%s%s", at > names ? ":" : "", name);
    }
    snprintf(text, sizeof text, "%zu", count);
    setenv("LISTEN_FDS", text, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    snprintf(text, sizeof text, "%ld", (long)getpid());
    setenv("LISTEN_PID", text, 1);
    free(names);
}

/* ---- descriptors --------------------------------------------------------------------------- */

/* The same open file under a number that is nobody's target; close-on-exec. */
static int out_of_the_way(const struct opening *opening, int number)
{
    while (is_target(opening, opening->count, number)) {
        number = fcntl(number, F_DUPFD_CLOEXEC, number + 1);
        if (number < 0)
            cannot_place(opening, errno);
    }
    return number;
}

void opening_guard(struct opening *opening)
{
    int fd;

    /* No socket of ours gets the number of an end that is closed; CMD finds it closed as before. */
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
    opening->errors = out_of_the_way(opening, 2);
}

/* ---- the command --------------------------------------------------------------------------- */

/* The next of the paths that WORD may mean, in INTO; 0 after the last. */
static int next_path(const char *word, const char **path, char *into, size_t room)
{
    size_t size;

    if (!*path)
        return 0;
    size = strcspn(*path, ":");
    if (strchr(word, '/'))
        size = strlen(*path);
    if (strchr(word, '/') || !size)
        snprintf(into, room, "%s", word);
    else
        snprintf(into, room, "%.*s/%s", (int)size, *path, word);
    *path = (*path)[size] ? *path + size + 1 : NULL;
    return 1;
}

static const char *search_path(void)
{
    const char *path = getenv("PATH");

    return path && *path ? path : "/bin:/usr/bin";
}

__attribute__((noreturn))
static void not_run(const struct opening *opening, int error)
{
    if (error == ENOENT || error == ENOTDIR)
        fail(NOT_FOUND, "%s cannot be run: there is no such command; give it after --",
             opening->command[0]);
    fail(NOT_EXECUTABLE, "%s cannot be run: %s", opening->command[0], strerror(error));
}

void opening_find(const struct opening *opening)
{
    const char *word = opening->command[0], *path = search_path();
    char place[PATH_MAX];
    int error = ENOENT;
    struct stat is;

    while (next_path(word, &path, place, sizeof place)) {
        if (stat(place, &is))
            continue;
        if (S_ISREG(is.st_mode) && !access(place, X_OK))
            return;
        if (S_ISREG(is.st_mode))
            error = EACCES;
        else if (S_ISDIR(is.st_mode) && strchr(word, '/'))
            error = EISDIR;
    }
    not_run(opening, error);
}

/* execvp(3) would have a shell read what is no program. */
__attribute__((noreturn))
static void execute(const struct opening *opening)
{
    const char *path = search_path();
    char place[PATH_MAX];
    int error = ENOENT;

    while (next_path(opening->command[0], &path, place, sizeof place)) {
        execv(place, opening->command);
        if (errno != ENOENT && errno != ENOTDIR)
            error = errno;
    }
    not_run(opening, error);
}

void opening_become(struct opening *opening, int *fds)
{
    for (size_t i = 0; i < opening->count; i++)
        fds[i] = out_of_the_way(opening, fds[i]);
    for (size_t i = 0; i < opening->count; i++)
        while (dup2(fds[i], (int)opening->targets[i]) < 0)
            if (errno != EINTR && errno != EBUSY)
                cannot_place(opening, errno);
    execute(opening);
}
