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
        snprintf(place->listed, sizeof(place->listed), "%.4040s/at", place->scopes);
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

void list_remove(const struct place *place)
{
    const struct wanting none = { .count = 0 };
    int base = open(place->scopes, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir;
    DIR *stream = base < 0 ? NULL : fdopendir(base);
    struct dirent *is;

    while (stream && (is = readdir(stream))) {
        if (*is->d_name == '.')
            continue;
        dir = openat(base, is->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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

int list_open(struct door *door, const char *name)
{
    struct wanting wanted = { .count = 0 };
    char path[PATH_MAX + 64];
    int dir = -1, error, done = srv_list(&door->srv, name, want, &wanted);

    if (*name)
        snprintf(path, sizeof(path), "%s/%s", door->place.scopes, name);
    else
        snprintf(path, sizeof(path), "%s", door->place.listed);
    if (done == 0 && (mkdir(path, AT_REST) == 0 || errno == EEXIST))
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    error = errno;
    if (dir >= 0)
        update(dir, &wanted);
    forget(&wanted);
    errno = error;
    return dir;
}
