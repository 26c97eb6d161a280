/* SPDX-License-Identifier: MIT */
/* Handles: an entry that is empty, open for writing.
 *
 * What a program gets is a memfd with the entry's name.  The library sees the number as it is
 * written (write(2)), or finds it afterwards (stdio writes past us, within libc), posts that
 * descriptor and empties the memfd again: text in it is text not acted upon yet.  Name and text
 * live in the kernel, so that copies, fork and exec carry them.  All that is remembered is which
 * memfds this process made or was begun with: one that came by a socket is its sender's, who would
 * have our descriptors posted where he likes.
 *
 * The law: the number is looked up in the process that acts, at that moment; what is no number, too
 * long, or not at the beginning is EINVAL and changes nothing.  The offset stays 0, so a second
 * number replaces the first.  It refuses to know files.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u  /* Linux 6.3; younger than some libc's headers */
#endif
#define INHERITED 20    /* how many numbers are looked at in a program just begun */
#define KNOWN 256       /* handles of one process; the oldest gives way */

static const char prefix[] = "/memfd:pagsrv:", suffix[] = " (deleted)";
static struct {
    dev_t dev;
    ino_t ino;
} known[KNOWN];
static unsigned handles;    /* how many there have been; none: nothing is looked at */

bool door_handles(void)
{
    return __atomic_load_n(&handles, __ATOMIC_RELAXED);
}

static void know(const struct stat *found)
{
    unsigned place = __atomic_load_n(&handles, __ATOMIC_RELAXED) % KNOWN;

    known[place].dev = found->st_dev;
    known[place].ino = found->st_ino;
    __atomic_fetch_add(&handles, 1, __ATOMIC_RELEASE);
}

static bool is_known(const struct stat *found)
{
    for (unsigned place = 0; place < KNOWN && place < handles; place++)
        if (known[place].ino == found->st_ino && known[place].dev == found->st_dev)
            return true;
    return false;
}

static bool may_be_handle(int fd, struct stat *found)
{
    return fstat(fd, found) == 0 && S_ISREG(found->st_mode) && found->st_nlink == 0;
}

/* The name that FD has as a memfd, if it is named as handles are. */
static bool called(int fd, char name[DOOR_HANDLE_MAX + 1])
{
    char path[40], target[sizeof(prefix) + DOOR_HANDLE_MAX + sizeof(suffix)];
    const size_t around = sizeof(prefix) - 1 + sizeof(suffix) - 1;
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
    length = NEXT(readlink)(path, target, sizeof(target));
    if (length <= (ssize_t)around || length >= (ssize_t)sizeof(target) ||
        memcmp(target, prefix, sizeof(prefix) - 1) != 0)
        return false;
    length -= around;
    memcpy(name, target + sizeof(prefix) - 1, length);
    name[length] = 0;
    return true;
}

/* The name FD is a handle of, in NAME; false and errno as it was if it is none. */
static bool handle_name(int fd, char name[DOOR_HANDLE_MAX + 1])
{
    int before = errno;
    struct stat found;
    bool is = may_be_handle(fd, &found) && is_known(&found) && called(fd, name);

    errno = before;
    return is;
}

bool door_is_handle(int fd)
{
    char name[DOOR_HANDLE_MAX + 1];

    return door_handles() && handle_name(fd, name);
}

int door_handle(const char *full)
{
    char memfd[DOOR_HANDLE_MAX + sizeof("pagsrv:")];
    struct stat found;
    int fd;

    if (strlen(full) > DOOR_HANDLE_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    snprintf(memfd, sizeof(memfd), "pagsrv:%s", full);
    fd = memfd_create(memfd, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(memfd, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    if (fstat(fd, &found) == 0)
        know(&found);
    if (door_is_handle(fd))
        return fd;
    close(fd);          /* no /proc here: what is written would be lost */
    errno = ENXIO;
    return -1;
}

/* ---- assigning ----------------------------------------------------------------------------- */

struct assignment {
    const char *full;
    int fd;
};

static int assign(struct srv *srv, void *with)
{
    const struct assignment *this = with;

    return srv_assign(srv, this->full, this->fd);
}

static int act(const char *full, const char *text, size_t size, off_t offset)
{
    struct assignment this = { full, srv_number(text, size, offset) };

    if (this.fd < 0)
        return -1;
    if (fcntl(this.fd, F_GETFD) < 0) {
        errno = EINVAL;
        return -1;
    }
    if (door_is_handle(this.fd)) {
        errno = ELOOP;
        return -1;
    }
    return door_ask(assign, &this);
}

ssize_t door_handle_write(int fd, const void *text, size_t size)
{
    char name[DOOR_HANDLE_MAX + 1];

    if (door_settle(fd) < 0 || !handle_name(fd, name))
        return -1;
    if (size && act(name, text, size, lseek(fd, 0, SEEK_CUR)) < 0)
        return -1;
    return (ssize_t)size;
}

int door_settle(int fd)
{
    char name[DOOR_HANDLE_MAX + 1], text[SRV_TEXT];
    struct stat found;
    ssize_t size;

    if (!door_handles() || !handle_name(fd, name) || fstat(fd, &found) < 0 || !found.st_size)
        return 0;
    size = pread(fd, text, sizeof(text), 0);
    if (size < 0 || ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -1;
    return act(name, text, (size_t)size, 0);
}

void door_settle_all(void)
{
    int before = errno;

    for (int fd = 0; door_handles() && fd < INHERITED; fd++)
        door_settle(fd);
    errno = before;
}

/* What a shell opened for us is ours to act upon. */
__attribute__((constructor)) static void begin(void)
{
    char name[DOOR_HANDLE_MAX + 1];
    struct stat found;

    for (int fd = 0; fd < INHERITED; fd++)
        if (may_be_handle(fd, &found) && found.st_uid == geteuid() && called(fd, name))
            know(&found);
}

/* exit(3) has called what the program asked for; what stdio still holds is written after us. */
__attribute__((destructor)) static void end(void)
{
    if (!door_handles())
        return;
    fflush(NULL);
    door_settle_all();
}
