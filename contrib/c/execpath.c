/* SPDX-License-Identifier: MIT */
/* Which paths are ours, by their text: no file system is asked.
 *
 * The law: a symlink is not followed, so a path that leads to --at through one is not ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "exec.h"

/* A path being put together: "" is the root. */
struct joined {
    char text[PATH_MAX];
    size_t length;
    size_t known;       /* so much of it came from the kernel: no symlink in it */
};

static int push(struct joined *path, const char *part, size_t length)
{
    if (path->length + length + 2 > sizeof(path->text))
        return -1;
    path->text[path->length++] = '/';
    memcpy(path->text + path->length, part, length);
    path->length += length;
    path->text[path->length] = 0;
    return 0;
}

/* What follows DIRECTORY in PATH: "" if they are the same, NULL if it is elsewhere. */
static const char *under(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    if (!length || strncmp(path, directory, length) != 0)
        return NULL;
    if (!path[length])
        return path + length;
    return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *within(const struct place *place, const char *path)
{
    const char *name = under(path, place->given);

    if (!name)
        name = under(path, place->real);
    if (!name)
        name = under(path, place->listed);
    if (name)
        return name;
    name = under(path, place->scopes);
    return name && *name ? name : NULL;
}

static void pop(const struct place *place, struct joined *path, int *doubt)
{
    char *slash = strrchr(path->text, '/');
    int told = path->length <= path->known;

    if (!slash)
        return;
    *slash = 0;
    path->length = slash - path->text;
    if (told)
        path->known = path->length;
    else if (!within(place, path->text))
        *doubt = 1;
}

static int join(const struct place *place, struct joined *path, const char *text, int *doubt)
{
    while (*text) {
        size_t length = strcspn(text, "/");

        if (length == 2 && memcmp(text, "..", 2) == 0)
            pop(place, path, doubt);
        else if (length && !(length == 1 && *text == '.') && push(path, text, length) < 0)
            return -1;
        text += length + (text[length] == '/');
    }
    return 0;
}

int path_name(const struct place *place, const char *base, const char *path, char name[PATH_MAX],
              int *doubt)
{
    struct joined whole = { .length = 0 };
    int dots = 0;
    const char *found;

    *doubt = 0;
    if (*path != '/') {
        if (!base || *base != '/' || join(place, &whole, base, &dots) < 0)
            return 0;
        whole.known = whole.length;
    }
    if (join(place, &whole, path, doubt) < 0)
        return 0;
    found = within(place, whole.text);
    if (!found)
        return 0;
    strcpy(name, found);
    return 1;
}

int path_place(struct place *place, const char *at)
{
    struct joined whole = { .length = 0 };
    struct stat is;
    int doubt = 0;

    errno = EINVAL;
    if (*at != '/' || join(place, &whole, at, &doubt) < 0 || !whole.length || doubt)
        return -1;
    strcpy(place->given, whole.text);
    if (stat(at, &is) == 0 && S_ISDIR(is.st_mode) && realpath(at, place->real)) {
        place->dev = is.st_dev;
        place->ino = is.st_ino;
    } else {
        *place->real = 0;
    }
    return 0;
}
