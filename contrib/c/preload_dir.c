/* SPDX-License-Identifier: MIT */
/* Listing --at: opendir(3) and its kin.
 *
 * The law: the names are those that a path of ours would find, as the broker lists them when
 * the directory is opened or rewound.  A DIR of ours is told from libc's by being in our list.
 * It refuses to know what else a name stands for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

_Static_assert(sizeof(struct dirent) == sizeof(struct dirent64), "one struct dirent for both");

struct listing {
    struct listing *next;
    int fd;
    char name[SRV_FULL];
    size_t count, room, at;
    char (*names)[PAGSRV_NAME_MAX + 1];
    unsigned char *types;
    struct dirent now;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct listing *volatile listings;

/* Whoever held it is not in the child; the list is whole at each moment. */
static void in_child(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

__attribute__((constructor)) static void begin(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

static struct listing *of(DIR *dir)
{
    struct listing *one;

    if (!listings)
        return NULL;
    pthread_mutex_lock(&lock);
    for (one = listings; one && (void *)one != (void *)dir; one = one->next)
        ;
    pthread_mutex_unlock(&lock);
    return one;
}

static int grow(struct listing *this)
{
    size_t room = this->room ? 2 * this->room : 64;
    void *names = reallocarray(this->names, room, sizeof(*this->names)), *types;

    if (names)
        this->names = names;
    types = names ? realloc(this->types, room) : NULL;
    if (!types)
        return -1;
    this->types = types;
    this->room = room;
    return 0;
}

static int add(const char *name, int directory, void *with)
{
    struct listing *this = with;

    if (this->count == this->room && grow(this) < 0)
        return 1;
    snprintf(this->names[this->count], sizeof(*this->names), "%s", name);
    this->types[this->count++] = directory ? DT_DIR : DT_REG;
    return 0;
}

static int ask(struct srv *srv, void *with)
{
    struct listing *this = with;
    int answer;

    this->count = this->at = 0;
    answer = srv_list(srv, this->name, add, this);
    if (answer > 0)
        errno = ENOMEM;
    return answer ? -1 : 0;
}

static void release(struct listing *this)
{
    free(this->names);
    free(this->types);
    free(this);
}

/* FD is the listing's, and the program's, from here; it stays the caller's if this fails. */
static DIR *list(const char *name, int fd)
{
    struct listing *this = calloc(1, sizeof(*this));

    if (!this)
        return NULL;
    this->fd = fd;
    snprintf(this->name, sizeof(this->name), "%s", name);
    if (door_ask(ask, this) < 0) {
        release(this);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    this->next = listings;
    listings = this;
    pthread_mutex_unlock(&lock);
    return (DIR *)this;
}

static DIR *opened(int fd, DIR *made)
{
    int error = errno;

    if (fd >= 0 && !made)
        NEXT(close)(fd);
    errno = error;
    return made;
}

DOOR DIR *opendir(const char *path)
{
    const char *name = door_name(path);
    int fd;

    if (!name)
        return NEXT(opendir)(path);
    fd = door_open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    return opened(fd, srv_is_directory(name) ? list(name, fd) : NEXT(fdopendir)(fd));
}

DOOR DIR *fdopendir(int fd)
{
    return door_is_directory(fd) ? list("", fd) : NEXT(fdopendir)(fd);
}

DOOR int closedir(DIR *dir)
{
    struct listing *this = of(dir);
    struct listing *volatile *at = &listings;
    int fd;

    if (!this)
        return NEXT(closedir)(dir);
    pthread_mutex_lock(&lock);
    while (*at != this)
        at = &(*at)->next;
    *at = this->next;
    pthread_mutex_unlock(&lock);
    fd = this->fd;
    release(this);
    return NEXT(close)(fd);
}

static struct dirent *next(struct listing *this)
{
    static const char *const dots[] = { ".", ".." };
    const size_t at = this->at;

    if (at >= this->count + 2)
        return NULL;
    this->now.d_ino = (ino_t)(at + 1);
    this->now.d_off = (off_t)++this->at;
    this->now.d_reclen = sizeof(this->now);
    this->now.d_type = at < 2 ? DT_DIR : this->types[at - 2];
    strcpy(this->now.d_name, at < 2 ? dots[at] : this->names[at - 2]);
    return &this->now;
}

DOOR struct dirent *readdir(DIR *dir)
{
    struct listing *this = of(dir);

    return this ? next(this) : NEXT(readdir)(dir);
}

DOOR struct dirent64 *readdir64(DIR *dir)
{
    struct listing *this = of(dir);

    return this ? (struct dirent64 *)next(this) : NEXT(readdir64)(dir);
}

DOOR int dirfd(DIR *dir)
{
    struct listing *this = of(dir);

    return this ? this->fd : NEXT(dirfd)(dir);
}

DOOR void rewinddir(DIR *dir)
{
    struct listing *this = of(dir);
    int before = errno;

    if (!this) {
        NEXT(rewinddir)(dir);
        return;
    }
    door_ask(ask, this);
    errno = before;
}

DOOR long telldir(DIR *dir)
{
    struct listing *this = of(dir);

    return this ? (long)this->at : NEXT(telldir)(dir);
}

DOOR void seekdir(DIR *dir, long place)
{
    struct listing *this = of(dir);

    if (this)
        this->at = (size_t)place;
    else
        NEXT(seekdir)(dir, place);
}
