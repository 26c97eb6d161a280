/* SPDX-License-Identifier: MIT */
/* A program that knows no libc's open: static, raw system calls, and means no good.
 *
 *	raw open|openat|openat2|creat|relative PATH	what is in it, and its close-on-exec flag
 *	raw post PATH NUMBER [writev]			NUMBER written to PATH, opened to create it
 *	raw flip PATH OTHER COUNT			PATH becomes OTHER and back while it is opened
 *	raw edge PATH					PATH lies across a page that is not there
 *	raw flood PATH THREADS COUNT			opens of PATH and of /dev/null, all at once
 *	raw gone PATH COUNT				processes that are killed while they open
 *	raw many PATH COUNT				opens, and how many descriptors are held then
 *	raw chroot DIR PATH				opened from within DIR
 *	raw become UID PATH				opened as another user
 *	raw foreign UID PATH				the same by the numbers of 32-bit programs, and x32's
 *
 * The law: what it says is what the kernel told it.  It refuses to know doors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static int raw_openat(const char *path, int flags)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

static int fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static int show(int fd)
{
    char text[200];
    ssize_t size;

    if (fd < 0)
        return fail("open");
    size = read(fd, text, sizeof(text));
    printf("%s %.*s\n", fcntl(fd, F_GETFD) & FD_CLOEXEC ? "closes" : "stays",
           size > 0 ? (int)size : 0, text);
    return 0;
}

static int by(const char *how, const char *path)
{
    struct open_how with = { .flags = O_RDONLY | O_CLOEXEC };

    if (strcmp(how, "openat") == 0)
        return show(raw_openat(path, O_RDONLY | O_CLOEXEC));
    if (strcmp(how, "openat2") == 0)
        return show((int)syscall(SYS_openat2, AT_FDCWD, path, &with, sizeof(with)));
#ifdef SYS_open
    if (strcmp(how, "open") == 0)
        return show((int)syscall(SYS_open, path, O_RDONLY | O_NONBLOCK, 0));
    if (strcmp(how, "creat") == 0)
        return show((int)syscall(SYS_creat, path, 0600));
#endif
    if (chdir("/") == 0 && strcmp(how, "relative") == 0)
        return show(raw_openat(path + 1, O_RDWR | O_TRUNC));
    return 2;
}

static int post(const char *path, const char *number, int vector)
{
    struct iovec parts[2] = { { (void *)number, strlen(number) }, { "\n", 1 } };
    int fd = raw_openat(path, O_WRONLY | O_CREAT);
    long done;

    if (fd < 0)
        return fail("open");
    done = vector ? syscall(SYS_writev, fd, parts, 2)
                  : syscall(SYS_write, fd, number, strlen(number));
    return done < 0 ? fail("write") : 0;
}

/* ---- forged memory ------------------------------------------------------------------------- */

static char flipped[64];
static const char *sides[2];
static volatile int over;

static void *flip(void *with)
{
    while (!over)
        for (int i = 0; i < 2; i++)
            memcpy(flipped, sides[i], strlen(sides[i]) + 1);
    return with;
}

/* Both files say what they are; anything else that is opened is a breach. */
static int flipping(const char *path, const char *other, int count)
{
    int seen[3] = { 0 };
    pthread_t thread;

    sides[0] = path;
    sides[1] = other;
    strcpy(flipped, path);
    if (pthread_create(&thread, NULL, flip, NULL))
        return fail("thread");
    for (int i = 0; i < count; i++) {
        char text[16] = { 0 };
        int fd = raw_openat(flipped, O_RDONLY);

        if (fd < 0)
            continue;
        if (pread(fd, text, sizeof(text) - 1, 0) < 0)
            seen[2]++;
        seen[strncmp(text, "posted", 6) == 0 ? 0 : strncmp(text, "own", 3) == 0 ? 1 : 2]++;
        close(fd);
    }
    over = 1;
    pthread_join(thread, NULL);
    printf("%s%s%d strange\n", seen[0] ? "posted " : "", seen[1] ? "own " : "", seen[2]);
    return 0;
}

static int edge(const char *path)
{
    size_t length = strlen(path);
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    munmap(pages + 2 * PAGE, PAGE);
    strcpy(pages + PAGE - length / 2, path);
    show(raw_openat(pages + PAGE - length / 2, O_RDONLY));
    strcpy(pages + 2 * PAGE - length - 1, path);
    show(raw_openat(pages + 2 * PAGE - length - 1, O_RDONLY));
    memcpy(pages + 2 * PAGE - length, path, length);
    show(raw_openat(pages + 2 * PAGE - length, O_RDONLY));
    return show(raw_openat((char *)8, O_RDONLY));
}

/* ---- many ---------------------------------------------------------------------------------- */

struct flood {
    const char *path;
    int count, failed;
};

static void *opens(void *with)
{
    struct flood *flood = with;

    for (int i = 0; i < flood->count; i++) {
        int fd = raw_openat(i % 2 ? flood->path : "/dev/null", O_RDONLY);

        if (fd < 0)
            flood->failed++;
        else
            close(fd);
    }
    return NULL;
}

static int flooding(const char *path, int threads, int count)
{
    pthread_t thread[256];
    struct flood flood[256];
    int failed = 0;

    for (int i = 0; i < threads; i++) {
        flood[i] = (struct flood){ path, count, 0 };
        if (pthread_create(&thread[i], NULL, opens, &flood[i]))
            return fail("thread");
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        failed += flood[i].failed;
    }
    printf("%d failed\n", failed);
    return 0;
}

static int gone(const char *path, int count)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();

        if (child == 0)
            for (;;)
                close(raw_openat(path, O_RDONLY));
        for (volatile int wait = 0; wait < i * 200; wait++)
            continue;
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    return show(raw_openat(path, O_RDONLY));
}

static int held(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int many(const char *path, int count)
{
    struct flood flood = { path, 2 * count, 0 };
    int before = held();

    opens(&flood);
    printf("%d failed, %d more\n", flood.failed, held() - before);
    return 0;
}

/* ---- somebody else ------------------------------------------------------------------------- */

static int from_within(const char *dir, const char *path)
{
    if (chroot(dir) < 0 || chdir("/") < 0)
        return fail("chroot");
    return show(raw_openat(path, O_RDONLY));
}

static int as_another(int uid, const char *path)
{
    if (syscall(SYS_setresuid, uid, uid, uid) < 0)
        return fail("setresuid");
    return show(raw_openat(path, O_RDONLY));
}

#ifdef __x86_64__
#define X32 0x40000000

static long as_32_bits(long number, long first, long second, long third)
{
    long done;

    __asm__ volatile("int $0x80" : "=a"(done)
                     : "a"(number), "b"(first), "c"(second), "d"(third) : "memory", "r8", "r9",
                       "r10", "r11");
    return done;
}

static const char *said(long done)
{
    return done >= 0 ? "done" : strerror((int)-done);
}

/* i386: open 5, keyctl 288, setresuid32 208; what they point to has to lie low. */
static int foreign(int uid, const char *path)
{
    char *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

    strcpy(low, path);
    printf("%s, ", said(as_32_bits(5, (long)low, O_RDONLY, 0)));
    printf("%s, ", said(as_32_bits(288, 1, 0, 0)));
    printf("%s, ", said(syscall(X32 | SYS_keyctl, 1, 0) < 0 ? -errno : 0));
    printf("%s, ", said(syscall(SYS_keyctl, 18) < 0 ? -errno : 0));
    show(raw_openat(path, O_RDONLY));
    printf("%s, ", said(as_32_bits(208, uid, uid, uid)));
    return show(raw_openat(path, O_RDONLY));
}
#else
static int foreign(int uid, const char *path)
{
    (void)uid;
    (void)path;
    return 77;
}
#endif

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOFBF, 65536);
    if (argc < 3)
        return 2;
    if (strcmp(argv[1], "post") == 0)
        return post(argv[2], argv[3], argc > 4);
    if (strcmp(argv[1], "flip") == 0)
        return flipping(argv[2], argv[3], atoi(argv[4]));
    if (strcmp(argv[1], "edge") == 0)
        return edge(argv[2]);
    if (strcmp(argv[1], "flood") == 0)
        return flooding(argv[2], atoi(argv[3]), atoi(argv[4]));
    if (strcmp(argv[1], "gone") == 0)
        return gone(argv[2], atoi(argv[3]));
    if (strcmp(argv[1], "many") == 0)
        return many(argv[2], atoi(argv[3]));
    if (strcmp(argv[1], "chroot") == 0)
        return from_within(argv[2], argv[3]);
    if (strcmp(argv[1], "become") == 0)
        return as_another(atoi(argv[2]), argv[3]);
    if (strcmp(argv[1], "foreign") == 0)
        return foreign(atoi(argv[2]), argv[3]);
    return by(argv[1], argv[2]);
}
