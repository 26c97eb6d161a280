/* SPDX-License-Identifier: MIT */
/* The caller: its memory, its descriptors, who it is.
 *
 * The law: a process id is believed only while the call that it came with waits, which is asked
 * after everything that was found by it; nothing of an answer from a process that took the number
 * over is used.  What is written goes through /proc/PID/mem, opened before that was asked: a file
 * that is one process's for good.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "exec.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL     /* linux/pidfd.h since 6.9 */
#endif
#define PAGE 4096u              /* or larger; smaller it is nowhere */
#define STEP 256u
#define STATUS 8192

int call_waits(const struct door *door, const struct seccomp_notif *call)
{
    return ioctl(door->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call->id) == 0;
}

int caller_read(pid_t pid, uint64_t from, void *to, size_t size)
{
    struct iovec here = { to, size }, there = { (void *)(uintptr_t)from, size };

    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -1;
}

int caller_path(pid_t pid, uint64_t from, char path[PATH_MAX])
{
    size_t read = 0;

    /* Up to the end of the page, since what follows may not be there. */
    while (read < PATH_MAX) {
        size_t page = PAGE - (from + read) % PAGE;
        size_t step = page < STEP ? page : STEP;

        if (step > PATH_MAX - read)
            step = PATH_MAX - read;
        if (caller_read(pid, from + read, path + read, step) < 0)
            return -1;
        if (memchr(path + read, 0, step))
            return 0;
        read += step;
    }
    return -1;
}

int caller_write(const struct door *door, const struct seccomp_notif *call, uint64_t to,
                 const void *from, size_t size)
{
    char path[40];
    int memory, done;

    snprintf(path, sizeof(path), "/proc/%u/mem", call->pid);
    memory = open(path, O_WRONLY | O_CLOEXEC);
    if (memory < 0)
        return -1;
    done = call_waits(door, call) && pwrite(memory, from, size, (off_t)to) == (ssize_t)size;
    close(memory);
    return done ? 0 : -1;
}

int caller_directory(pid_t pid, int dir, char path[PATH_MAX])
{
    char link[48];
    ssize_t length;

    if (dir == AT_FDCWD)
        snprintf(link, sizeof(link), "/proc/%d/cwd", pid);
    else
        snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, dir);
    length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0)
        return -1;
    path[length] = 0;
    return 0;
}

int caller_has_handle(const struct door *door, pid_t pid, int fd)
{
    char is[PATH_MAX];

    return fd >= 0 && caller_directory(pid, fd, is) == 0 && strcmp(is, door->handle) == 0;
}

/* The process of a thread, for kernels whose pidfds are of processes only. */
static pid_t process_of(pid_t thread)
{
    char path[40], text[STATUS], *line;
    int fd, process = -1;
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/%d/status", thread);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    line = strstr(text, "\nTgid:");
    return line && sscanf(line, "\nTgid: %d", &process) == 1 ? process : -1;
}

int caller_fd(const struct door *door, const struct seccomp_notif *call, int fd)
{
    int pidfd = (int)syscall(SYS_pidfd_open, call->pid, PIDFD_THREAD), got, error;

    if (pidfd < 0 && errno == EINVAL)
        pidfd = (int)syscall(SYS_pidfd_open, process_of((pid_t)call->pid), 0);
    if (pidfd < 0)
        return -1;
    if (!call_waits(door, call)) {
        close(pidfd);
        errno = ESRCH;
        return -1;
    }
    got = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    error = errno;
    close(pidfd);
    errno = error;
    return got;
}

/* The lines of /proc/PID/status that say whose a process is, one after the other. */
static int identity(const char *pid, char *into, size_t room)
{
    static const char *const lines[] = { "\nUid:", "\nGid:", "\nGroups:" };
    char path[40], text[STATUS];
    ssize_t length;
    size_t used = 0;
    int fd;

    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        const char *line = strstr(text, lines[i]);
        size_t size = line ? strcspn(line + 1, "\n") + 1 : 0;

        if (!line || used + size + 1 > room)
            return -1;
        memcpy(into + used, line, size);
        used += size;
    }
    into[used] = 0;
    return 0;
}

int caller_is_ours(const struct door *door, const struct seccomp_notif *call)
{
    char pid[16], path[40], ours[STATUS], theirs[STATUS];
    struct stat root, is;

    snprintf(pid, sizeof(pid), "%u", call->pid);
    snprintf(path, sizeof(path), "/proc/%s/root", pid);
    if (stat("/", &root) < 0 || stat(path, &is) < 0 || root.st_ino != is.st_ino ||
        root.st_dev != is.st_dev)
        return 0;
    if (!door->judged)
        return 1;
    return identity("self", ours, sizeof(ours)) == 0 &&
           identity(pid, theirs, sizeof(theirs)) == 0 && strcmp(ours, theirs) == 0;
}
