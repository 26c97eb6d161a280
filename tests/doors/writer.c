/* SPDX-License-Identifier: MIT */
/* A program that knows nothing of pagsrv, and writes numbers to paths.
 *
 * The law: each command writes in one way, and says what came of it; the status is 0, or 1 with
 * errno's name on stderr.  It refuses to know what a path stands for.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerrorname_np(errno));
    return 1;
}

/* NUMBER by way of stdio: what is written leaves libc in fclose(3). */
static int print(char **words)
{
    FILE *file = fopen(words[0], "w");

    if (!file)
        return failed("fopen");
    fprintf(file, "%s\n", words[1]);
    return fclose(file) ? failed("fclose") : 0;
}

/* The same, by a stream that is open for something else before, and left to exit(3). */
static int reopen(char **words)
{
    int fd = dup(0);

    if (!freopen(words[0], "w", stdout))
        return failed("freopen");
    printf("%d\n", fd);
    return 0;
}

/* What is written to one handle: each of the numbers in turn, with what came of it. */
static int numbers(char **words)
{
    int fd = open(words[0], O_WRONLY | O_CREAT, 0600);

    if (fd < 0)
        return failed("open");
    for (words++; *words; words++) {
        ssize_t done = write(fd, *words, strlen(*words));

        printf("%s\n", done < 0 ? strerrorname_np(errno) : "0");
    }
    return 0;
}

static int offset(char **words)
{
    int fd = open(words[0], O_WRONLY | O_CREAT, 0600);

    printf("%s\n", pwrite(fd, "0", 1, 1) < 0 ? strerrorname_np(errno) : "0");
    printf("%s\n", pwrite(fd, "0", 1, 0) < 0 ? strerrorname_np(errno) : "0");
    return 0;
}

/* The library's own connection: the one socket above 400. */
static int own(char **words)
{
    char text[20];
    int fd = open(words[0], O_WRONLY | O_CREAT, 0600), one;

    for (one = 399; one < 1024 && fcntl(one, F_GETFD) < 0; one++)
        ;
    snprintf(text, sizeof(text), "%d", one);
    printf("%s\n", write(fd, text, strlen(text)) < 0 ? strerrorname_np(errno) : "0");
    return 0;
}

/* A stranger's memfd, named as a handle of the entry is, comes by a socket and is closed here. */
static int forged(char **words)
{
    char name[300], space[CMSG_SPACE(sizeof(int))] = { 0 }, zero = '0';
    struct iovec byte = { &zero, 1 };
    struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = space,
                              .msg_controllen = sizeof(space) };
    struct cmsghdr *beside = CMSG_FIRSTHDR(&message);
    int pair[2], fd, mine = open(words[0], O_WRONLY | O_CREAT, 0600);

    snprintf(name, sizeof(name), "pagsrv:%s", words[1]);
    fd = memfd_create(name, MFD_CLOEXEC);
    if (mine < 0 || fd < 0 || write(fd, "0", 1) != 1 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return failed("memfd");
    beside->cmsg_level = SOL_SOCKET;
    beside->cmsg_type = SCM_RIGHTS;
    beside->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(beside), &fd, sizeof(fd));
    if (sendmsg(pair[0], &message, 0) < 0 || recvmsg(pair[1], &message, 0) < 0)
        return failed("socket");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    return close(fd) ? failed("close") : 0;
}

static const struct command {
    const char *name;
    int (*run)(char **words);
} commands[] = {
    { "print", print }, { "reopen", reopen }, { "numbers", numbers }, { "offset", offset },
    { "own", own }, { "forged", forged },
};

int main(int count, char **words)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands) && count > 2; i++)
        if (strcmp(words[1], commands[i].name) == 0)
            return commands[i].run(words + 2);
    errx(2, "which command, of which path?");
}
