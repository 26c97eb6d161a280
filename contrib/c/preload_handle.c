/* SPDX-License-Identifier: MIT */
/* Handles: an entry that is empty, open for writing.
 *
 * What a program gets is a memfd with the entry's name.  The library sees the number as it is
 * written (write(2)), or finds it afterwards (stdio writes past us, within libc), posts that
 * descriptor and empties the memfd again: text in it is text not acted upon yet.  Name and text
 * live in the kernel, so that copies, fork and exec carry them, and nothing is remembered here.
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

static const char prefix[] = "/memfd:pagsrv:", suffix[] = " (deleted)";
static volatile bool handles;

bool door_handles(void)
{
    return handles;
}

/* The name FD is a handle of, in NAME; false and errno as it was if it is none. */
static bool handle_name(int fd, char name[DOOR_HANDLE_MAX + 1])
{
    char path[40], target[sizeof(prefix) + DOOR_HANDLE_MAX + sizeof(suffix)];
    const size_t around = sizeof(prefix) - 1 + sizeof(suffix) - 1;
    int before = errno;
    struct stat found;
    ssize_t length = -1;

    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink == 0) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        length = NEXT(readlink)(path, target, sizeof(target));
    }
    errno = before;
    if (length <= (ssize_t)around || length >= (ssize_t)sizeof(target) ||
        memcmp(target, prefix, sizeof(prefix) - 1) != 0)
        return false;
    length -= around;
    memcpy(name, target + sizeof(prefix) - 1, length);
    name[length] = 0;
    return true;
}

bool door_is_handle(int fd)
{
    char name[DOOR_HANDLE_MAX + 1];

    return handles && handle_name(fd, name);
}

int door_handle(const char *full)
{
    char called[DOOR_HANDLE_MAX + sizeof("pagsrv:")];
    int fd;

    if (strlen(full) > DOOR_HANDLE_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    snprintf(called, sizeof(called), "pagsrv:%s", full);
    fd = memfd_create(called, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(called, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    handles = true;
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

    if (!handles || !handle_name(fd, name) || fstat(fd, &found) < 0 || !found.st_size)
        return 0;
    size = pread(fd, text, sizeof(text), 0);
    if (size < 0 || ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -1;
    return act(name, text, (size_t)size, 0);
}

void door_settle_all(void)
{
    int before = errno;

    for (int fd = 0; handles && fd < INHERITED; fd++)
        door_settle(fd);
    errno = before;
}

/* What a shell opened for us is ours to act upon. */
__attribute__((constructor)) static void begin(void)
{
    char name[DOOR_HANDLE_MAX + 1];

    for (int fd = 0; fd < INHERITED && !handles; fd++)
        handles = handle_name(fd, name);
}

/* exit(3) has called what the program asked for; what stdio still holds is written after us. */
__attribute__((destructor)) static void end(void)
{
    if (!handles)
        return;
    fflush(NULL);
    door_settle_all();
}
