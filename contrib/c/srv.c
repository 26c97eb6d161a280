/* SPDX-License-Identifier: MIT */
/* The board as files: opening, creating and assigning, and the connection it takes. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "srv.h"
#include "srvwithin.h"

static int connect_line(struct srv *srv, struct pagsrv **line)
{
    int error;

    pagsrv_close(*line);
    *line = pagsrv_connect(srv->dir, line == &srv->changing ? PAGSRV_CHANGES : 0);
    if (!*line)
        return -1;
    if (pagsrv_attach(*line, NULL) == 0)
        return 0;
    error = errno;
    pagsrv_close(*line);
    *line = NULL;
    errno = error;
    return -1;
}

int srv_connect(struct srv *srv)
{
    return connect_line(srv, &srv->board);
}

void srv_close(struct srv *srv)
{
    pagsrv_close(srv->board);
    pagsrv_close(srv->changing);
    srv->board = srv->changing = NULL;
}

/* Every question is asked so: srv_line(), then `do ... while (failed && srv_again(...))`. */
struct pagsrv **srv_line(struct srv *srv, struct pagsrv **line)
{
    srv->fresh = !*line;
    return *line || connect_line(srv, line) == 0 ? line : NULL;
}

int srv_again(struct srv *srv, struct pagsrv **line)
{
    if (srv->fresh || (errno != ECONNREFUSED && errno != EPROTO))
        return 0;
    srv->fresh = 1;
    return connect_line(srv, line) == 0;
}

static int is_scope(const char *name, size_t length)
{
    static const char *const kinds[] = { "session:", "pag:", "user:" };

    for (size_t i = 0; i < 3; i++) {
        size_t kind = strlen(kinds[i]);

        if (length > kind && strncmp(name, kinds[i], kind) == 0 &&
            strspn(name + kind, "0123456789") >= length - kind)
            return 1;
    }
    return 0;
}

int srv_is_directory(const char *name)
{
    return !*name || is_scope(name, strlen(name));
}

int srv_is_beneath(const char *name)
{
    const char *slash = strchr(name, '/');

    if (slash && is_scope(name, slash - name))
        slash = strchr(slash + 1, '/');
    return slash != NULL;
}

static int fails(int error)
{
    errno = error;
    return -1;
}

/* ---- opening ------------------------------------------------------------------------------- */

/* Beneath what is no directory the broker finds nothing; a file system says why. */
static int why_not_beneath(struct srv *srv, const char *name)
{
    char entry[SRV_FULL];
    struct pagsrv_entry is;
    size_t scope = is_scope(name, strcspn(name, "/")) ? strcspn(name, "/") + 1 : 0;
    size_t length = scope + strcspn(name + scope, "/");
    int error = errno;

    if ((error != ENOENT && error != EINVAL) || !srv_is_beneath(name) || length >= sizeof(entry))
        return -1;
    memcpy(entry, name, length);
    entry[length] = 0;
    if (srv_entry(srv, entry, &is) < 0)
        return -1;
    return fails(strcmp(is.kind, "dir") == 0 ? error : ENOTDIR);
}

/* A directory that is to be read is opened anew, where its permissions let us: who reads the posted
 * one goes on where somebody else stopped.  FD is used up. */
static int directory(int fd)
{
    struct stat is;
    int anew = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (anew < 0 && (fstat(fd, &is) < 0 || !S_ISDIR(is.st_mode))) {
        close(fd);
        return fails(ENOTDIR);
    }
    if (anew < 0)
        return fd;
    close(fd);
    return anew;
}

static int ask(struct pagsrv *board, const char *name, int flags)
{
    const char *access = (flags & O_ACCMODE) == O_WRONLY ? "w" : "rw";
    int fd;

    if (!srv_is_beneath(name) || !((flags & O_ACCMODE) || (flags & O_TRUNC)))
        return pagsrv_open(board, name, NULL);
    return pagsrv_open_beneath(board, &name, 1, access, &fd) < 0 ? -1 : fd;
}

/* What lies beneath was opened anew, so it is the caller's to append to.  FD is used up. */
static int written(int fd, int flags)
{
    if ((!(flags & O_TRUNC) || ftruncate(fd, 0) == 0) &&
        (!(flags & O_APPEND) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_APPEND) == 0))
        return fd;
    flags = errno;
    close(fd);
    return fails(flags);
}

static int open_entry(struct srv *srv, const char *name, int flags)
{
    struct pagsrv **line = srv_line(srv, &srv->board);
    int fd;

    if (!line)
        return -1;
    do
        fd = ask(*line, name, flags);
    while (fd < 0 && srv_again(srv, line));
    if (fd < 0)
        return why_not_beneath(srv, name);
    if (flags & O_DIRECTORY)
        return directory(fd);
    return srv_is_beneath(name) && (flags & (O_ACCMODE | O_TRUNC)) ? written(fd, flags) : fd;
}

/* What is not there is not made. */
static int open_beneath(struct srv *srv, const char *name, int flags)
{
    int writes = (flags & O_ACCMODE) != O_RDONLY, error, fd;
    struct stat is;

    if ((flags & O_CREAT) && (flags & O_EXCL) && (srv_stat(srv, name, &is) == 0 || errno != ENOENT))
        return fails(EEXIST);
    fd = open_entry(srv, name, flags);
    if (fd >= 0 || (errno != ENOENT && errno != EINVAL) || (errno == ENOENT && !(flags & O_CREAT)))
        return fd;
    if (errno == ENOENT)
        return fails(EROFS);
    error = errno;
    return fails(writes && srv_stat(srv, name, &is) == 0 && S_ISDIR(is.st_mode) ? EISDIR : error);
}

int srv_entry(struct srv *srv, const char *name, struct pagsrv_entry *entry)
{
    struct pagsrv **line = srv_line(srv, &srv->board);
    int done;

    if (!line)
        return -1;
    do
        done = pagsrv_stat(*line, name, NULL, entry);
    while (done < 0 && srv_again(srv, line));
    return done;
}

static int handle_of(struct srv *srv, const char *name, char full[SRV_FULL])
{
    struct pagsrv_entry entry;

    if (srv_entry(srv, name, &entry) < 0)
        return -1;
    snprintf(full, SRV_FULL, "%s/%s", entry.scope, entry.name);
    return SRV_HANDLE;
}

static int create(struct srv *srv, const char *name, char full[SRV_FULL])
{
    /* A full name has its scope before it. */
    const struct pagsrv_posting how = { .scope = strchr(name, '/') ? NULL : srv->scope };
    struct pagsrv **line = srv_line(srv, &srv->changing);
    int done;

    if (!line)
        return -1;
    do
        done = pagsrv_post(*line, name, -1, &how);
    while (done < 0 && srv_again(srv, line));
    return done < 0 ? -1 : handle_of(srv, name, full);
}

int srv_open(struct srv *srv, const char *name, int flags, char full[SRV_FULL])
{
    int creates = flags & O_CREAT, fd;
    struct pagsrv_entry entry;

    if (srv_is_directory(name)) {
        if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT))
            return SRV_DIRECTORY;
        return fails(creates && (flags & O_EXCL) ? EEXIST : EISDIR);
    }
    if (srv_is_beneath(name))
        return open_beneath(srv, name, flags);
    if (creates && (flags & O_EXCL)) {
        if (srv_entry(srv, name, &entry) == 0)
            return fails(EEXIST);
        return errno == ENOENT ? create(srv, name, full) : -1;
    }
    fd = open_entry(srv, name, flags);
    if (fd < 0 && errno == ENOENT && creates) {
        fd = create(srv, name, full);
        /* Somebody else was faster. */
        if (fd == -1 && errno == EEXIST)
            fd = open_entry(srv, name, flags);
    }
    if (fd == -1 && errno == ENXIO && (flags & O_ACCMODE) != O_RDONLY)
        return handle_of(srv, name, full);
    return fd;
}

/* ---- assigning ----------------------------------------------------------------------------- */

int srv_number(const char *text, size_t size, off_t offset)
{
    char kept[SRV_TEXT], *end;
    long number;

    if (offset != 0 || !size || size >= sizeof(kept))
        return fails(EINVAL);
    memcpy(kept, text, size);
    kept[size] = 0;
    /* strtol(3) would take a sign. */
    if (strlen(kept) != size || !isdigit((unsigned char)kept[strspn(kept, " \t")]))
        return fails(EINVAL);
    errno = 0;
    number = strtol(kept, &end, 10);
    if (errno || number > INT_MAX || end[strspn(end, " \t\r\n")])
        return fails(EINVAL);
    return (int)number;
}

/* With the generation seen, so that what was removed is not made again. */
static int assign(struct srv *srv, struct pagsrv *board, const char *full, int fd)
{
    struct pagsrv_posting how = { .replace = 1 };
    struct pagsrv_entry entry;

    if (srv_entry(srv, full, &entry) < 0)
        return -1;
    how.expect = entry.generation;
    return pagsrv_post(board, full, fd, &how);
}

int srv_assign(struct srv *srv, const char *full, int fd)
{
    struct pagsrv **line = srv_line(srv, &srv->changing);
    int done, tries = 3;

    if (!line)
        return -1;
    do
        done = assign(srv, *line, full, fd);
    while (done < 0 && ((errno == ESTALE && --tries) || srv_again(srv, line)));
    return done;
}
