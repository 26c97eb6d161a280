/* SPDX-License-Identifier: MIT */
/* A program that knows nothing of pagsrv, and does with paths what programs do.
 *
 * The law: each command does one thing, and says what came of it; the status is 0, or 1 with
 * errno's name on stderr.  It refuses to know what a path stands for.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerrorname_np(errno));
    return 1;
}

static int descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int show(int fd)
{
    char text[256];
    ssize_t size = pread(fd, text, sizeof(text), 0);

    return size < 0 ? failed("pread") : fwrite(text, 1, (size_t)size, stdout) != (size_t)size;
}

static int stream(char **words)
{
    FILE *file = fopen(words[0], "r");
    char line[256];

    if (!file)
        return failed("fopen");
    while (fgets(line, sizeof(line), file))
        fputs(line, stdout);
    return fclose(file) ? failed("fclose") : 0;
}

static int flags(char **words)
{
    int kept = open(words[0], O_RDONLY), closed = open(words[0], O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (kept < 0 || closed < 0)
        return failed("open");
    printf("%d %d %s %s\n", fcntl(kept, F_GETFD), fcntl(closed, F_GETFD),
           fcntl(closed, F_GETFL) & O_NONBLOCK ? "nonblock" : "block",
           (fcntl(closed, F_GETFL) & O_ACCMODE) == O_RDONLY ? "r" : "rw");
    return 0;
}

static int lowest(char **words)
{
    close(0);
    printf("%d\n", open(words[0], O_RDONLY));
    return 0;
}

static int again(char **words)
{
    int count = atoi(words[1]), before = 0;

    for (int i = 0; i <= count; i++) {
        int fd = open(words[0], O_RDONLY);

        if (fd < 0)
            return failed("open");
        close(fd);
        before = before ? before : descriptors();
    }
    printf("%d\n", descriptors() - before);
    return 0;
}

static int time_of(char **words)
{
    int count = atoi(words[1]);
    struct timespec from, to;

    close(open(words[0], O_RDONLY));
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < count; i++)
        close(open(words[0], O_RDONLY));
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.0f\n", ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / count);
    return 0;
}

/* Every number from 3 up is closed, and has a file of this program's afterwards. */
static int close_all(char **words)
{
    int fd = open(words[0], O_RDONLY), mine;

    if (fd < 0)
        return failed("open");
    closefrom(3);
    while ((mine = open("/etc/passwd", O_RDONLY)) >= 0 && mine < 600)
        ;
    close(mine);
    fd = open(words[0], O_RDONLY);
    if (fd < 0)
        return failed("open again");
    for (mine = 3; mine < 600; mine++)
        if (fcntl(mine, F_GETFD) < 0)
            return failed("a descriptor of this program is gone");
    return show(fd);
}

static int children(char **words)
{
    int status;

    for (int i = 0; i < 3; i++) {
        int fd = open(words[0], O_RDONLY), count = descriptors();
        pid_t child;

        if (fd < 0)
            return failed("open");
        fflush(stdout);
        child = fork();
        if (child == 0) {
            close(fd);
            if (descriptors() > count - 2)
                _exit(2);
            fd = open(words[0], O_RDONLY);
            _exit(fd < 0 ? failed("open in the child") : (show(fd), fflush(stdout), 0));
        }
        if (waitpid(child, &status, 0) != child || status)
            return failed("child");
    }
    return 0;
}

static int vforked(char **words)
{
    int fd = open(words[0], O_RDONLY), status, count;
    pid_t child;

    if (fd < 0)
        return failed("open");
    count = descriptors();
    child = vfork();
    if (child == 0) {
        fd = open(words[0], O_RDONLY);
        _exit(fd < 0);
    }
    waitpid(child, &status, 0);
    fd = open(words[0], O_RDONLY);
    if (fd < 0 || status || descriptors() != count + 1)
        return failed("vfork");
    return show(fd);
}

static void *opening(void *path)
{
    for (int i = 0; i < 200; i++) {
        int fd = open(path, O_RDONLY);
        struct stat found;

        if (fd < 0 || stat(path, &found) < 0)
            return path;
        close(fd);
    }
    return NULL;
}

static int threads(char **words)
{
    pthread_t thread[THREADS];
    void *wrong = NULL;

    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, opening, words[0]);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();

        if (child == 0)
            _exit(opening(words[0]) != NULL);
        waitpid(child, NULL, 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *one;

        pthread_join(thread[i], &one);
        wrong = wrong ? wrong : one;
    }
    return wrong ? failed("a thread") : 0;
}

static char *handled;
static volatile int opened, busy;

static void handler(int signal)
{
    int before = errno, fd = open(handled, O_RDONLY);

    (void)signal;
    if (fd >= 0)
        opened++;
    else if (errno == EDEADLK)
        busy++;
    close(fd);
    errno = before;
}

/* A signal comes into an open, and its handler opens the same: it is refused, and nothing hangs. */
static int signals(char **words)
{
    struct sigaction action = { .sa_handler = handler };
    struct itimerval often = { { 0, 150 }, { 0, 150 } };

    handled = words[0];
    close(open(words[0], O_RDONLY));
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 100000 && (busy < 10 || i < 1000); i++) {
        int fd = open(words[0], O_RDONLY);

        if (fd < 0)
            return failed("open");
        close(fd);
    }
    printf("%s\n", busy >= 10 ? "refused" : "never in the middle");
    return 0;
}

/* A new session, in this process: what the old one has is out of reach. */
static int rejoin(char **words)
{
    if (open(words[0], O_RDONLY) < 0)
        return failed("open");
    if (syscall(SYS_keyctl, 1, NULL) < 0)
        return failed("keyctl");
    if (open(words[0], O_RDONLY) >= 0)
        return failed("still there");
    puts(strerrorname_np(errno));
    return 0;
}

/* Another user, in this process. */
static int drop(char **words)
{
    if (open(words[0], O_RDONLY) < 0 || setresuid(60701, 60701, 60701) < 0)
        return failed("open");
    puts(open(words[0], O_RDONLY) < 0 ? strerrorname_np(errno) : "0");
    return 0;
}

static int kinds(char **words)
{
    struct stat found;
    struct statx more;

    errno = 0;
    if (stat(words[0], &found) || lstat(words[0], &found) ||
        fstatat(AT_FDCWD, words[0], &found, AT_SYMLINK_NOFOLLOW) ||
        statx(AT_FDCWD, words[0], 0, STATX_BASIC_STATS, &more) || access(words[0], R_OK) ||
        faccessat(AT_FDCWD, words[0], F_OK, AT_EACCESS) || euidaccess(words[0], R_OK) || errno)
        return failed("stat");
    printf("%o %o %d\n", found.st_mode, more.stx_mode, (int)found.st_uid);
    return 0;
}

static const struct command {
    const char *name;
    int (*run)(char **words);
} commands[] = {
    { "stream", stream }, { "flags", flags }, { "lowest", lowest }, { "again", again },
    { "time", time_of }, { "close_all", close_all }, { "children", children },
    { "vforked", vforked }, { "threads", threads }, { "rejoin", rejoin }, { "kinds", kinds },
    { "drop", drop }, { "signals", signals },
};

int main(int count, char **words)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands) && count > 2; i++)
        if (strcmp(words[1], commands[i].name) == 0)
            return commands[i].run(words + 2);
    errx(2, "which command, of which path?");
}
