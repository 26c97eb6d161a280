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

int srv_connect(struct srv *srv)
{
    int error;

    srv_close(srv);
    srv->board = pagsrv_connect(srv->dir, PAGSRV_CHANGES);
    if (!srv->board)
        return -1;
    if (pagsrv_attach(srv->board, NULL) == 0)
        return 0;
    error = errno;
    srv_close(srv);
    errno = error;
    return -1;
}

void srv_close(struct srv *srv)
{
    pagsrv_close(srv->board);
    srv->board = NULL;
}

/* Every question is asked so: srv_begin(), then `do ... while (failed && srv_again(srv))`. */
int srv_begin(struct srv *srv)
{
    srv->fresh = !srv->board;
    return srv->board ? 0 : srv_connect(srv);
}

int srv_again(struct srv *srv)
{
    if (srv->fresh || (errno != ECONNREFUSED && errno != EPROTO))
        return 0;
    srv->fresh = 1;
    return srv_connect(srv) == 0;
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

static int open_entry(struct srv *srv, const char *name, int flags)
{
    struct stat is;
    int fd;

    do
        fd = pagsrv_open(srv->board, name, NULL);
    while (fd < 0 && srv_again(srv));
    if (fd < 0 || !(flags & O_DIRECTORY) || (fstat(fd, &is) == 0 && S_ISDIR(is.st_mode)))
        return fd;
    close(fd);
    return fails(ENOTDIR);
}

static int name_in_full(struct srv *srv, const char *name, char full[SRV_FULL])
{
    struct pagsrv_entry entry;

    if (pagsrv_stat(srv->board, name, NULL, &entry) < 0)
        return -1;
    snprintf(full, SRV_FULL, "%s/%s", entry.scope, entry.name);
    return SRV_HANDLE;
}

static int create(struct srv *srv, const char *name, char full[SRV_FULL])
{
    /* A full name has its scope before it. */
    const struct pagsrv_posting how = { .scope = strchr(name, '/') ? NULL : srv->scope };

    if (pagsrv_post(srv->board, name, -1, &how) < 0)
        return -1;
    if (!how.scope)
        return name_in_full(srv, name, full);
    snprintf(full, SRV_FULL, "%s/%s", how.scope, name);
    return SRV_HANDLE;
}

static int open_new(struct srv *srv, const char *name, char full[SRV_FULL])
{
    struct pagsrv_entry entry;
    int found;

    do
        found = pagsrv_stat(srv->board, name, NULL, &entry);
    while (found < 0 && srv_again(srv));
    if (found == 0)
        return fails(EEXIST);
    return errno == ENOENT ? create(srv, name, full) : -1;
}

int srv_open(struct srv *srv, const char *name, int flags, char full[SRV_FULL])
{
    int creates = (flags & O_CREAT) && !srv_is_beneath(name), fd;

    if (srv_is_directory(name)) {
        if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT))
            return SRV_DIRECTORY;
        return fails(creates && (flags & O_EXCL) ? EEXIST : EISDIR);
    }
    if (srv_begin(srv) < 0)
        return -1;
    if (creates && (flags & O_EXCL))
        return open_new(srv, name, full);
    fd = open_entry(srv, name, flags);
    if (fd < 0 && errno == ENOENT && creates) {
        fd = create(srv, name, full);
        /* Somebody else was faster. */
        if (fd == -1 && errno == EEXIST)
            fd = open_entry(srv, name, flags);
    }
    if (fd == -1 && errno == ENXIO && (flags & O_ACCMODE) != O_RDONLY)
        return name_in_full(srv, name, full);
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
static int assign(struct srv *srv, const char *full, int fd)
{
    struct pagsrv_entry entry;
    struct pagsrv_posting how = { .replace = 1 };

    if (pagsrv_stat(srv->board, full, NULL, &entry) < 0)
        return -1;
    how.expect = entry.generation;
    return pagsrv_post(srv->board, full, fd, &how);
}

int srv_assign(struct srv *srv, const char *full, int fd)
{
    int done, tries = 3;

    if (srv_begin(srv) < 0)
        return -1;
    do
        done = assign(srv, full, fd);
    while (done < 0 && ((errno == ESTALE && --tries) || srv_again(srv)));
    return done;
}
