/* SPDX-License-Identifier: MIT */
/* The directory that is handed out as /srv: a real one, empty files in it named as the entries.
 *
 * The law: it is brought up to date whenever somebody opens it, and read as any directory is; what
 * is looked up in it comes back to us as a path of ours.  Nobody else may look into it, and nobody
 * reads its files: who comes past us is refused, and does not find an entry empty.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec.h"

#define DIRECTORY "at"
#define AT_REST 0500
#define AT_WORK 0700

struct wanted {
    char *name;
    int directory;
};

struct wanting {
    struct wanted *list;
    size_t count, room;
};

/* As /proc will show what is opened in it. */
static char *make(char path[PATH_MAX])
{
    char real[PATH_MAX];

    return mkdtemp(path) && realpath(path, real) ? strcpy(path, real) : NULL;
}

int list_make(struct place *place)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    const char *const bases[] = { runtime && *runtime == '/' ? runtime : "/tmp", "/tmp" };

    for (size_t i = 0; i < 2; i++) {
        snprintf(place->scopes, sizeof(place->scopes), "%.4000s/pagsrv-exec-XXXXXX", bases[i]);
        if (!make(place->scopes))
            continue;
        snprintf(place->listed, sizeof(place->listed), "%.4040s/" DIRECTORY, place->scopes);
        if (mkdir(place->listed, AT_REST) == 0)
            return 0;
        rmdir(place->scopes);
    }
    *place->scopes = *place->listed = 0;
    return -1;
}

/* ---- what is there ------------------------------------------------------------------------- */

static int by_name(const void *one, const void *other)
{
    return strcmp(((const struct wanted *)one)->name, ((const struct wanted *)other)->name);
}

static void drop(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) < 0)
        unlinkat(dir, name, AT_REMOVEDIR);
}

static int is_directory(int dir, const char *name)
{
    struct stat is;

    return fstatat(dir, name, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(is.st_mode);
}

/* Remove from DIR what is not WANTED (sorted), or is of another type. */
static void clear(int dir, const struct wanting *wanted)
{
    int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = again < 0 ? NULL : fdopendir(again);
    struct dirent *is;

    while (stream && (is = readdir(stream))) {
        struct wanted key = { .name = is->d_name }, *found;

        if (strcmp(is->d_name, ".") == 0 || strcmp(is->d_name, "..") == 0)
            continue;
        found = wanted->count ? bsearch(&key, wanted->list, wanted->count, sizeof(key), by_name)
                              : NULL;
        if (!found || found->directory != is_directory(dir, is->d_name))
            drop(dir, is->d_name);
    }
    if (stream)
        closedir(stream);
}

/* In /tmp somebody else may have put another in its place, once it was cleared away as too old; and
 * what is in ours is no symlink, since we clear where we are led. */
static int open_base(const struct place *place)
{
    int base = open(place->scopes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat is;

    if (base < 0 || (fstat(base, &is) == 0 && is.st_uid == geteuid()))
        return base;
    close(base);
    errno = EACCES;
    return -1;
}

static int open_in(int base, const char *name)
{
    return openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void list_remove(const struct place *place)
{
    const struct wanting none = { .count = 0 };
    int base = open_base(place), dir;
    DIR *stream = base < 0 ? NULL : fdopendir(base);
    struct dirent *is;

    while (stream && (is = readdir(stream))) {
        if (*is->d_name == '.')
            continue;
        dir = open_in(base, is->d_name);
        if (dir >= 0) {
            fchmod(dir, AT_WORK);
            clear(dir, &none);
            close(dir);
        }
        drop(base, is->d_name);
    }
    if (stream)
        closedir(stream);
    rmdir(place->scopes);
}

/* ---- what is to be there ------------------------------------------------------------------- */

static int want(const char *name, int directory, void *with)
{
    struct wanting *wanted = with;

    if (wanted->count == wanted->room) {
        size_t room = wanted->room ? 2 * wanted->room : 64;
        struct wanted *list = realloc(wanted->list, room * sizeof(*list));

        if (!list)
            return -1;
        wanted->list = list;
        wanted->room = room;
    }
    wanted->list[wanted->count] = (struct wanted){ strdup(name), directory };
    return wanted->list[wanted->count++].name ? 0 : -1;
}

static void update(int dir, struct wanting *wanted)
{
    if (wanted->count)
        qsort(wanted->list, wanted->count, sizeof(*wanted->list), by_name);
    fchmod(dir, AT_WORK);
    clear(dir, wanted);
    for (size_t i = 0; i < wanted->count; i++)
        if (wanted->list[i].directory)
            mkdirat(dir, wanted->list[i].name, AT_REST);
        else
            mknodat(dir, wanted->list[i].name, S_IFREG, 0);
    fchmod(dir, AT_REST);
}

static void forget(struct wanting *wanted)
{
    for (size_t i = 0; i < wanted->count; i++)
        free(wanted->list[i].name);
    free(wanted->list);
}

/* The directory of NAME, made where it is not there. */
static int open_made(const struct place *place, const char *name)
{
    int base, dir = -1, error;

    if (mkdir(place->scopes, AT_WORK) < 0 && errno != EEXIST)
        return -1;
    base = open_base(place);
    if (base < 0)
        return -1;
    if (mkdirat(base, name, AT_REST) == 0 || errno == EEXIST)
        dir = open_in(base, name);
    error = errno;
    close(base);
    errno = error;
    return dir;
}

int list_open(struct door *door, const char *name)
{
    struct wanting wanted = { .count = 0 };
    int dir = -1, error;

    if (srv_list(&door->srv, name, want, &wanted) == 0)
        dir = open_made(&door->place, *name ? name : DIRECTORY);
    error = errno;
    if (dir >= 0)
        update(dir, &wanted);
    forget(&wanted);
    errno = error;
    return dir;
}
