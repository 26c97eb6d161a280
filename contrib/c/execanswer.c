/* SPDX-License-Identifier: MIT */
/* The answers: what the broker says, put as the system call would have put it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "exec.h"

static void reply(const struct door *door, const struct seccomp_notif *call, long value, int error,
                  unsigned flags)
{
    struct seccomp_notif_resp answer = { .id = call->id, .val = value, .error = error,
                                         .flags = flags };

    /* Nobody is there any more where it fails. */
    ioctl(door->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

void answer_go_on(const struct door *door, const struct seccomp_notif *call)
{
    reply(door, call, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

void answer_value(const struct door *door, const struct seccomp_notif *call, long value)
{
    reply(door, call, value, 0, 0);
}

void answer_error(const struct door *door, const struct seccomp_notif *call, int error)
{
    reply(door, call, 0, -error, 0);
}

void answer_fd(const struct door *door, const struct seccomp_notif *call, int fd, int cloexec)
{
    struct seccomp_notif_addfd give = { .id = call->id, .srcfd = (unsigned)fd,
                                        .newfd_flags = cloexec ? O_CLOEXEC : 0 };
    /* With SECCOMP_ADDFD_FLAG_SEND it would be one step, and where we are killed in it the caller's
     * open may answer 0: another file than it asked for. */
    int number = ioctl(door->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &give);

    if (number >= 0)
        answer_value(door, call, number);
    else if (errno != ENOENT)
        answer_error(door, call, errno);        /* EMFILE, as the caller's limit has it */
}

/* ---- opening ------------------------------------------------------------------------------- */

/* An open file that a shell can hold, copy and close, and whose every write the kernel refuses with
 * EINVAL, since nothing fits behind its offset; those that may be a number are shown to us first.
 * What it is a handle of is in it, so that nothing has to be kept here. */
static int make_handle(struct door *door, const char *full)
{
    const int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    size_t size = strlen(full);
    char name[32];
    int fd;

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(door->handle + 7, " "), door->handle + 7);
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    if (write(fd, full, size) == (ssize_t)size && fcntl(fd, F_ADD_SEALS, seals) == 0 &&
        lseek(fd, LLONG_MAX, SEEK_SET) == LLONG_MAX) {
        door->handles = 1;
        return fd;
    }
    close(fd);
    errno = EIO;
    return -1;
}

static void answer_open(struct door *door, struct request *request)
{
    char full[SRV_FULL];
    int fd = srv_open(&door->srv, request->name, request->flags, full);

    if (fd == SRV_HANDLE)
        fd = make_handle(door, full);
    else if (fd == SRV_DIRECTORY)
        fd = list_open(door, request->name);
    if (fd < 0) {
        answer_error(door, &request->call, errno);
        return;
    }
    answer_fd(door, &request->call, fd, request->flags & O_CLOEXEC);
    close(fd);
}

/* ---- assigning ----------------------------------------------------------------------------- */

/* What was written: -1 and errno if it cannot be a number. */
static ssize_t text_of(const struct request *request, char text[SRV_TEXT])
{
    const struct seccomp_data *data = &request->call.data;
    pid_t pid = (pid_t)request->call.pid;
    struct iovec parts[2] = { { (void *)(uintptr_t)data->args[1], data->args[2] } };
    size_t count = 1, size = 0;

    if (data->nr == SYS_writev) {
        count = data->args[2] & 3;
        if (caller_read(pid, data->args[1], parts, count * sizeof(*parts)) < 0)
            return errno = EFAULT, -1;
    }
    for (size_t i = 0; i < count; size += parts[i++].iov_len) {
        if (parts[i].iov_len >= SRV_TEXT - size)
            return errno = EINVAL, -1;
        if (parts[i].iov_len &&
            caller_read(pid, (uintptr_t)parts[i].iov_base, text + size, parts[i].iov_len) < 0)
            return errno = EFAULT, -1;
    }
    return (ssize_t)size;
}

/* The entry that HANDLE is of, and the offset it is written at. */
static int full_name(const struct seccomp_data *data, int handle, char full[SRV_FULL],
                     off_t *offset)
{
    ssize_t size = pread(handle, full, SRV_FULL - 1, 0);

    if (size <= 0)
        return -1;
    full[size] = 0;
    *offset = lseek(handle, 0, SEEK_CUR);
    if (*offset == LLONG_MAX)
        *offset = 0;
    if (data->nr == SYS_pwrite64)
        *offset = (off_t)data->args[3];
    return 0;
}

/* Handles, and the directory we hand out, are no files to post. */
static int is_the_doors(const struct door *door, int fd)
{
    const struct place *place = &door->place;
    char link[32], is[PATH_MAX];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, is, sizeof(is) - 1);
    is[length > 0 ? length : 0] = 0;
    return strcmp(is, door->handle) == 0 ||
           strncmp(is, place->scopes, strlen(place->scopes)) == 0;
}

static int assign(struct door *door, const struct request *request, const char *full, int number)
{
    int fd = caller_fd(door, &request->call, number), done = -1, error;

    if (fd < 0)
        return errno = errno == EBADF ? EINVAL : errno, -1;
    errno = ELOOP;
    if (!is_the_doors(door, fd))
        done = srv_assign(&door->srv, full, fd);
    error = errno;
    close(fd);
    errno = error;
    return done;
}

static void answer_write(struct door *door, struct request *request)
{
    const struct seccomp_notif *call = &request->call;
    char text[SRV_TEXT], full[SRV_FULL];
    int handle = caller_fd(door, call, (int)call->data.args[0]), number = -1, named;
    ssize_t size;
    off_t offset;

    if (handle < 0) {
        answer_error(door, call, errno);
        return;
    }
    /* Another thread may have put something else there meanwhile. */
    named = is_the_doors(door, handle) && (fcntl(handle, F_GETFL) & O_ACCMODE) != O_RDONLY &&
            full_name(&call->data, handle, full, &offset) == 0;
    close(handle);
    if (!named) {
        answer_go_on(door, call);
        return;
    }
    size = text_of(request, text);
    if (size > 0)
        number = srv_number(text, (size_t)size, offset);
    if (size == 0 || (number >= 0 && assign(door, request, full, number) == 0))
        answer_value(door, call, size);
    else
        answer_error(door, call, errno);
}

/* ---- looking ------------------------------------------------------------------------------- */

static struct statx_timestamp stamp(struct timespec at)
{
    return (struct statx_timestamp){ .tv_sec = at.tv_sec, .tv_nsec = (unsigned)at.tv_nsec };
}

static void extend(const struct stat *is, struct statx *more)
{
    *more = (struct statx){
        .stx_mask = STATX_BASIC_STATS, .stx_blksize = (unsigned)is->st_blksize,
        .stx_nlink = (unsigned)is->st_nlink, .stx_uid = is->st_uid, .stx_gid = is->st_gid,
        .stx_mode = (unsigned short)is->st_mode, .stx_ino = is->st_ino,
        .stx_size = (unsigned long)is->st_size, .stx_blocks = (unsigned long)is->st_blocks,
        .stx_atime = stamp(is->st_atim), .stx_mtime = stamp(is->st_mtim),
        .stx_ctime = stamp(is->st_ctim), .stx_dev_major = major(is->st_dev),
        .stx_dev_minor = minor(is->st_dev), .stx_rdev_major = major(is->st_rdev),
        .stx_rdev_minor = minor(is->st_rdev),
    };
}

static void answer_stat(struct door *door, struct request *request)
{
    struct stat is;
    struct statx more;
    int extended = request->deed == STATX;

    if (srv_stat(&door->srv, request->name, &is) < 0) {
        answer_error(door, &request->call, errno);
        return;
    }
    extend(&is, &more);
    if (caller_write(door, &request->call, request->where, extended ? (void *)&more : (void *)&is,
                     extended ? sizeof(more) : sizeof(is)) < 0)
        answer_error(door, &request->call, EFAULT);
    else
        answer_value(door, &request->call, 0);
}

static int done(struct door *door, const struct request *request)
{
    switch (request->deed) {
    case ACCESS:
        return srv_access(&door->srv, request->name, request->flags);
    case UNLINK:
        if (request->flags & AT_REMOVEDIR)
            return errno = ENOTDIR, -1;
        return srv_unlink(&door->srv, request->name);
    case RENAME:
        if (request->flags)
            return errno = request->flags, -1;
        return srv_rename(&door->srv, request->name, request->to);
    case XATTR:
        return errno = EOPNOTSUPP, -1;
    default:
        return errno = EPERM, -1;       /* there are entries here, and nothing else */
    }
}

void answer(struct door *door, struct request *request)
{
    const struct seccomp_notif *call = &request->call;

    if (request->tries++ > 1)
        answer_error(door, call, EIO);  /* it has ended two of us already */
    else if (!caller_is_ours(door, call) || (request->doubtful && !look_again(door, request)))
        answer_go_on(door, call);
    else if (!call_waits(door, call))
        return;
    else if (request->deed == OPEN)
        answer_open(door, request);
    else if (request->deed == WRITE)
        answer_write(door, request);
    else if (request->deed == STAT || request->deed == STATX)
        answer_stat(door, request);
    else if (done(door, request) == 0)
        answer_value(door, call, 0);
    else
        answer_error(door, call, errno);
}
