/* SPDX-License-Identifier: MIT */
/* The board as files: looking at names, removing and renaming them, listing the directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "srv.h"
#include "srvwithin.h"

#define DEVICE makedev(0x2998, 0x0123)  /* srvfs's magic number, which no disk has */
#define SCOPES 8
#define LETTERS 6  /* of alswrv, of each four in a mask */

static int fails(int error)
{
    errno = error;
    return -1;
}

/* ---- stat(2), access(2) -------------------------------------------------------------------- */

/* As srvfs and the mount have it: who is not in the scope sees no file at all, so that a mode speaks
 * of the possessors alone (the mask's first letters). r for everybody if they may read, w for the
 * owner if they may write; a directory is entered by whoever reads it.
 */
mode_t srv_mode(const struct pagsrv_entry *entry)
{
    int directory = strcmp(entry->kind, "dir") == 0;
    int told = strlen(entry->mask) == 4 * LETTERS;
    int reads = told && memchr(entry->mask, 'r', LETTERS);
    int writes = told && memchr(entry->mask, 'w', LETTERS);

    return (directory ? S_IFDIR : S_IFREG) | (reads ? 0444 : 0) | (writes ? 0200 : 0) |
           (reads && directory ? 0111 : 0);
}

/* FNV-1a: the same name is the same inode, as far as anybody compares. */
static ino_t inode(const char *scope, const char *name)
{
    ino_t sum = 0xcbf29ce484222325u;

    for (; *scope; scope++)
        sum = (sum ^ (unsigned char)*scope) * 0x100000001b3u;
    for (; *name; name++)
        sum = (sum ^ (unsigned char)*name) * 0x100000001b3u;
    return sum;
}

static struct timespec moment(double seconds)
{
    struct timespec at = { .tv_sec = (time_t)seconds };

    at.tv_nsec = (long)((seconds - (double)at.tv_sec) * 1e9);
    return at;
}

static void describe(const struct pagsrv_entry *entry, struct stat *found)
{
    found->st_dev = DEVICE;
    found->st_ino = inode(entry->scope, entry->name);
    found->st_mode = srv_mode(entry);
    found->st_nlink = 1;
    found->st_uid = entry->owner_uid;
    found->st_gid = entry->owner_gid;
    found->st_blksize = 4096;
    found->st_mtim = found->st_ctim = moment(entry->created);
    found->st_atim = moment(entry->last_opened > 0 ? entry->last_opened : entry->created);
}

static void describe_directory(const char *name, struct stat *found)
{
    found->st_dev = DEVICE;
    found->st_ino = inode("", name);
    found->st_mode = S_IFDIR | 0755;
    found->st_nlink = 2;
    found->st_uid = geteuid();
    found->st_gid = getegid();
    found->st_blksize = 4096;
}

/* What lies beneath a posted directory is a file like any other. */
static int stat_beneath(struct srv *srv, const char *name, struct stat *found)
{
    int fd = srv_open(srv, name, O_RDONLY, NULL), done;

    if (fd < 0)
        return -1;
    done = fstat(fd, found);
    close(fd);
    return done;
}

int srv_stat(struct srv *srv, const char *name, struct stat *found)
{
    struct pagsrv_entry entry;

    memset(found, 0, sizeof(*found));
    if (srv_is_directory(name)) {
        describe_directory(name, found);
        return 0;
    }
    if (srv_is_beneath(name))
        return stat_beneath(srv, name, found);
    if (srv_entry(srv, name, &entry) < 0)
        return -1;
    describe(&entry, found);
    return 0;
}

/* Whether the poster may only an open shows. */
static int access_beneath(struct srv *srv, const char *name, int mode)
{
    struct stat found;
    int fd;

    if (srv_stat(srv, name, &found) < 0)
        return -1;
    if ((mode & X_OK) && !S_ISDIR(found.st_mode))
        return fails(EACCES);
    if (!(mode & W_OK))
        return 0;
    fd = S_ISDIR(found.st_mode) ? fails(EROFS) : srv_open(srv, name, O_WRONLY, NULL);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

int srv_access(struct srv *srv, const char *name, int mode)
{
    struct pagsrv_entry entry;

    if (srv_is_directory(name))
        return 0;
    if (srv_is_beneath(name))
        return access_beneath(srv, name, mode);
    if (srv_entry(srv, name, &entry) < 0)
        return -1;
    if (((mode & R_OK) && !strchr(entry.rights, 'r')) ||
        ((mode & W_OK) && !strchr(entry.rights, 'w')) ||
        ((mode & X_OK) && (strcmp(entry.kind, "dir") != 0 || !strchr(entry.rights, 'r'))))
        return fails(EACCES);
    return 0;
}

/* ---- unlink(2), rename(2) ------------------------------------------------------------------ */

int srv_unlink(struct srv *srv, const char *name)
{
    struct pagsrv **line;
    int done;

    if (srv_is_directory(name))
        return fails(EISDIR);
    if (srv_is_beneath(name))
        return fails(EROFS);
    line = srv_line(srv, &srv->changing);
    if (!line)
        return -1;
    do
        done = pagsrv_remove(*line, name, NULL, 0);
    while (done < 0 && srv_again(srv, line));
    return done;
}

int srv_rename(struct srv *srv, const char *name, const char *to)
{
    const char *slash = strrchr(to, '/'), *base = strrchr(name, '/');
    struct pagsrv **line;
    size_t prefix = slash ? (size_t)(slash - to) + 1 : 0;
    int done;

    if (srv_is_directory(name) || srv_is_directory(to))
        return fails(EBUSY);
    if (srv_is_beneath(name) || srv_is_beneath(to))
        return fails(EROFS);
    /* An entry never moves to another scope; a bare new name is in the scope of the old. */
    if (prefix && (!base || (size_t)(base - name) + 1 != prefix || strncmp(name, to, prefix) != 0))
        return fails(EXDEV);
    line = srv_line(srv, &srv->changing);
    if (!line)
        return -1;
    do
        done = pagsrv_rename(*line, name, to + prefix, NULL);
    while (done < 0 && srv_again(srv, line));
    return done;
}

/* ---- the directory ------------------------------------------------------------------------- */

struct listing {
    struct pagsrv_scope scopes[SCOPES];
    int count;                  /* of scopes; 0: take the entries of whichever was asked for */
    char last[PAGSRV_NAME_MAX + 1];
    int (*each)(const char *name, int directory, void *with);
    void *with;
};

/* Bare names only: what was granted to a scope has none in it. */
static int list_one(const struct pagsrv_entry *entry, void *with)
{
    struct listing *listing = with;
    int ours = !listing->count;

    for (int i = 0; i < listing->count && !ours; i++)
        ours = strcmp(listing->scopes[i].scope, entry->scope) == 0;
    if (!ours || strcmp(listing->last, entry->name) == 0)
        return 0;
    snprintf(listing->last, sizeof(listing->last), "%s", entry->name);
    return listing->each(entry->name, strcmp(entry->kind, "dir") == 0, listing->with);
}

int srv_list(struct srv *srv, const char *name,
             int (*each)(const char *name, int directory, void *with), void *with)
{
    struct listing listing = { .each = each, .with = with };
    struct pagsrv **line = srv_line(srv, &srv->board);
    int done;

    if (!line)
        return -1;
    do {
        if (!*name) {
            listing.count = pagsrv_scopes(*line, listing.scopes, SCOPES);
            if (listing.count > SCOPES)
                listing.count = SCOPES;
        }
        done = pagsrv_list(*line, *name ? name : NULL, list_one, &listing);
    } while (done < 0 && srv_again(srv, line));
    return done;
}
