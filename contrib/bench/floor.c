/* SPDX-License-Identifier: MIT */
/* The floor: the least a C program must do to hand out descriptors by name.
 *
 * One epoll loop on a SEQPACKET socket.  A request is 40 bytes (operation,
 * number, name padded with NUL), the reply 16 bytes and the descriptor.  The
 * law: nothing is checked that a broker would have to check; no policy, no
 * events, no accounting.  It only shows what the kernel itself costs.
 */
#include "bench.h"
#include <fcntl.h>
#include <sys/epoll.h>

struct request { uint32_t operation, number; char name[NAME_FIELD]; };
struct reply { uint32_t number; int32_t status; uint64_t length; };
struct slot { char name[NAME_FIELD]; int fd; };

static struct slot *slots;
static unsigned mask;

static struct slot *find(const char *name)
{
    uint32_t hash = 2166136261u;
    for (unsigned i = 0; i < NAME_FIELD && name[i]; i++)
        hash = (hash ^ (unsigned char)name[i]) * 16777619u;
    for (;; hash++) {
        struct slot *slot = &slots[hash & mask];
        if (!slot->name[0] || !memcmp(slot->name, name, NAME_FIELD))
            return slot;
    }
}

static void fill(unsigned entries)
{
    char name[NAME_FIELD];
    unsigned room = 16;
    while (room < entries * 2)
        room *= 2;
    slots = calloc(room, sizeof *slots);
    mask = room - 1;
    for (unsigned i = 0; i < entries; i++) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0 || !slots)
            die("entry %u", i);
        entry_name(name, i);
        struct slot *slot = find(name);
        memcpy(slot->name, name, NAME_FIELD);
        slot->fd = fd;
    }
}

static int answer(int fd)
{
    struct request request;
    if (recv(fd, &request, sizeof request, 0) != sizeof request)
        return -1;
    struct slot *slot = find(request.name);
    struct reply reply = {.number = request.number, .status = slot->name[0] ? 0 : ENOENT};
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec part = {&reply, sizeof reply};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (!reply.status) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &slot->fd, sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL) == sizeof reply ? 0 : -1;
}

static void serve(int listener)
{
    struct epoll_event ready[64], add = {.events = EPOLLIN, .data.fd = listener};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &add) < 0)
        die("no epoll");
    for (;;) {
        int count = epoll_wait(epoll, ready, 64, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                add.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (add.data.fd >= 0)
                    epoll_ctl(epoll, EPOLL_CTL_ADD, add.data.fd, &add);
            } else if (answer(fd) < 0) {
                close(fd);
            }
        }
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc < 3 || strlen(argv[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "usage: floor SOCKET ENTRIES\n");
        return 2;
    }
    fill((unsigned)strtoul(argv[2], NULL, 10));
    strcpy(address.sun_path, argv[1]);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0
        || listen(listener, 511) < 0)
        die("cannot listen on %s", argv[1]);
    serve(listener);
}
