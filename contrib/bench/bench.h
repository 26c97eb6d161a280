/* SPDX-License-Identifier: MIT */
/* What every C client of the benchmark shares: options, the timed loop, and
 * its one line of JSON.
 *
 * The law: an operation that fails ends the process with status 1 and a
 * sentence, so that no figure is ever made of refusals.  It refuses to know
 * any protocol; each client gives it a struct client.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAME_FIELD 32           /* bytes of a name on the floor's wire, padded with NUL */
#define SAMPLES (1u << 22)      /* operations timed at most by one process */
#define WARM_UP_OPERATIONS 50

struct options {
    const char *path;
    unsigned entries, asked, jobs, idle;
    double seconds;
};

struct client {
    void *(*start)(const struct options *);
    void (*operation)(void *, unsigned number);
};

__attribute__((noreturn, format(printf, 1, 2)))
static void die(const char *format, ...)
{
    va_list arguments;
    int error = errno;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, " (errno: %s)\n", strerror(error));
    exit(1);
}

static void entry_name(char name[NAME_FIELD], unsigned number)
{
    memset(name, 0, NAME_FIELD);
    snprintf(name, NAME_FIELD, "bench-entry-of-the-board-%06u", number);
}

/* The asked names lie evenly over the whole board and come in a mixed order:
 * 7919 is a prime that divides none of the numbers of names used. */
static unsigned pick(const struct options *options, unsigned operation)
{
    unsigned which = (unsigned)((uint64_t)operation * 7919u % options->asked);
    return (unsigned)((uint64_t)which * options->entries / options->asked);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int dial(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(path) >= sizeof address.sun_path)
        die("no socket for %s", path);
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("cannot connect to %s", path);
    return fd;
}

/* One packet and at most one descriptor; -1 in *fd when none came. */
static inline size_t receive(int socket_fd, char *buffer, size_t size, int *fd)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
    struct iovec part = {buffer, size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof control,
    };
    ssize_t got = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        die("no whole reply: %zd bytes, flags %#x", got, (unsigned)message.msg_flags);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *fd = -1;
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(header), sizeof *fd);
    return (size_t)got;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report(uint32_t *times, unsigned count, uint64_t elapsed)
{
    if (!count)
        die("no operation ended in time");
    qsort(times, count, sizeof *times, by_size);
    printf("{\"n\":%u,\"p50\":%u,\"p99\":%u,\"rate\":%.1f}\n", count, times[count / 2],
           times[(uint64_t)count * 99 / 100], (double)count / ((double)elapsed / 1e9));
}

static void measure(const struct client *client, const struct options *options)
{
    uint32_t *times = malloc(SAMPLES * sizeof *times);
    void *state = client->start(options);
    if (!times)
        die("no memory");
    unsigned warm = options->seconds < 0.05 ? 5 : WARM_UP_OPERATIONS, count = 0;
    for (unsigned i = 0; i < warm; i++)
        client->operation(state, i);
    uint64_t start = now(), end = start + (uint64_t)(options->seconds * 1e9), last = start;
    while (last < end && count < SAMPLES) {
        client->operation(state, count);
        uint64_t t = now();
        times[count++] = (uint32_t)(t - last);
        last = t;
    }
    report(times, count, last - start);
    free(times);
}

static unsigned job(const struct client *client, const struct options *options, int go)
{
    void *state = client->start(options);
    char byte = 0;
    unsigned count = 0;
    for (unsigned i = 0; i < WARM_UP_OPERATIONS; i++)
        client->operation(state, i);
    if (write(go, "r", 1) != 1 || read(go, &byte, 1) != 1)
        die("the other jobs are gone");
    uint64_t end = now() + (uint64_t)(options->seconds * 1e9);
    while (now() < end)
        client->operation(state, count++);
    return count;
}

/* Several processes at once, each on a connection of its own; the rate is the sum. */
static void measure_jobs(const struct client *client, const struct options *options)
{
    int ends[64];
    uint64_t total = 0;
    char byte;
    if (options->jobs > 64)
        die("at most 64 jobs");
    for (unsigned i = 0; i < options->jobs; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            die("no socketpair");
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            unsigned count = job(client, options, pair[1]);
            exit(write(pair[1], &count, sizeof count) != sizeof count);
        }
        if (child < 0)
            die("cannot fork");
        close(pair[1]);
        ends[i] = pair[0];
        if (read(ends[i], &byte, 1) != 1)
            die("job %u failed", i);
    }
    for (unsigned i = 0; i < options->jobs; i++)
        if (write(ends[i], "g", 1) != 1)
            die("job %u is gone", i);
    for (unsigned i = 0; i < options->jobs; i++) {
        unsigned count = 0;
        if (read(ends[i], &count, sizeof count) != sizeof count)
            die("job %u failed", i);
        total += count;
    }
    while (wait(NULL) > 0)
        ;
    printf("{\"n\":%llu,\"rate\":%.1f}\n", (unsigned long long)total,
           (double)total / options->seconds);
}

/* Options after MODE and SOCKET: -n entries, -k names asked, -j jobs, -i idle, -t seconds. */
static struct options parse(int argc, char **argv)
{
    struct options options = {.path = argv[2], .entries = 1000, .jobs = 1, .seconds = 0.3};
    for (int letter; (letter = getopt(argc - 2, argv + 2, "n:k:j:i:t:")) != -1;) {
        switch (letter) {
        case 'n': options.entries = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'k': options.asked = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'j': options.jobs = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'i': options.idle = (unsigned)strtoul(optarg, NULL, 10); break;
        case 't': options.seconds = strtod(optarg, NULL); break;
        default: exit(2);
        }
    }
    if (!options.entries)
        options.entries = 1;
    if (!options.asked || options.asked > options.entries)
        options.asked = options.entries;
    return options;
}

static void run(const struct client *client, const struct options *options, int type)
{
    for (unsigned i = 0; i < options->idle; i++)
        dial(options->path, type);
    if (options->jobs > 1)
        measure_jobs(client, options);
    else
        measure(client, options);
}

#endif
