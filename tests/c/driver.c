/* SPDX-License-Identifier: MIT */
/* A program of libpagsrv that does what it is told, line by line, and tells what came of it.
 *
 *	connect DIR FLAGS / attach SCOPE... / open NAME SCOPE / post NAME FD scope=user until=hup ...
 *
 * Words are separated by tabs; "~" is NULL.  Each line is answered by one: the result, errno and the
 * status where it failed, the sentence, and what else there is to tell.  The law: one command, one
 * function of pagsrv.h.  It refuses to know what is expected.
 */
#include "pagsrv.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 512

static struct pagsrv *board;
static char *words[MOST];
static int count;
static int listener = -1;
static char more[1 << 20];

static const char *word(int place)
{
    return place >= count || !strcmp(words[place], "~") ? NULL : words[place];
}

static long number(int place)
{
    return word(place) ? strtol(word(place), NULL, 10) : 0;
}

__attribute__((format(printf, 1, 2)))
static void tell(const char *format, ...)
{
    size_t used = strlen(more);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(more + used, sizeof more - used, format, arguments);
    va_end(arguments);
}

static void tell_entry(const struct pagsrv_entry *entry)
{
    tell("\t%s/%s|%s|%s|%s|%s|%d|%u|%u|%d|%s|%llu|%llu|%.6f|%.6f", entry->scope, entry->name,
         entry->kind, entry->access, entry->mask, entry->rights, entry->assigned, entry->owner_uid,
         entry->owner_gid, entry->poster_pid, entry->poster_comm,
         (unsigned long long)entry->generation, (unsigned long long)entry->opens, entry->created,
         entry->last_opened);
}

/* ---- the connection ------------------------------------------------------------------------ */

static long do_connect(void)
{
    board = pagsrv_connect(word(1), (unsigned)number(2));
    return board ? 0 : -1;
}

static long do_attach(void)
{
    const char *scopes[MOST + 1] = { NULL };

    for (int i = 1; i < count; i++)
        scopes[i - 1] = word(i);
    return pagsrv_attach(board, count > 1 ? scopes : NULL);
}

static long do_close(void)
{
    pagsrv_close(board);
    board = NULL;
    return 0;
}

static long do_scopes(void)
{
    struct pagsrv_scope scopes[8];
    int found = pagsrv_scopes(board, scopes, 8);

    for (int i = 0; i < found && i < 8; i++)
        tell("\t%s|%s|%s", scopes[i].scope, scopes[i].proof, scopes[i].isolation);
    return found;
}

static long do_fileno(void)
{
    return pagsrv_fileno(board);
}

/* ---- entries ------------------------------------------------------------------------------- */

static long do_open(void)
{
    return pagsrv_open(board, word(1), word(2));
}

static long do_take(void)
{
    return pagsrv_take(board, word(1), word(2));
}

static long do_many(void)
{
    int fds[MOST] = { 0 };
    long answer = pagsrv_open_many(board, (const char *const *)words + 1, (size_t)count - 1, fds);

    for (int i = 0; !answer && i < count - 1; i++)
        tell("\t%d", fds[i]);
    return answer;
}

static long do_beneath(void)
{
    int fds[MOST] = { 0 };
    long answer = pagsrv_open_beneath(board, (const char *const *)words + 2, (size_t)count - 2,
                                      word(1), fds);

    for (int i = 0; !answer && i < count - 2; i++)
        tell("\t%d", fds[i]);
    return answer;
}

static long do_post(void)
{
    static const char *until[MOST], *labels[MOST];
    struct pagsrv_posting how = { 0 };
    int ends = 0, told = 0;

    for (int i = 3; i < count; i++) {
        char *value = strchr(words[i], '=') + 1;

        if (!strncmp(words[i], "scope=", 6))
            how.scope = value;
        else if (!strncmp(words[i], "mask=", 5))
            how.mask = value;
        else if (!strncmp(words[i], "until=", 6))
            until[ends++] = value;
        else if (!strncmp(words[i], "label=", 6))
            labels[told++] = value;
        else if (!strncmp(words[i], "expect=", 7))
            how.expect = strtoull(value, NULL, 10);
        else
            how.replace = 1;
    }
    until[ends] = labels[told] = NULL;
    how.until = ends ? until : NULL;
    how.labels = told ? labels : NULL;
    return pagsrv_post(board, word(1), (int)number(2), count > 3 ? &how : NULL);
}

static long do_remove(void)
{
    return pagsrv_remove(board, word(1), word(2), (uint64_t)number(3));
}

static long do_rename(void)
{
    return pagsrv_rename(board, word(1), word(2), word(3));
}

static long do_mask(void)
{
    return pagsrv_set_mask(board, word(1), word(2), word(3));
}

static long do_stat(void)
{
    struct pagsrv_entry entry;
    long answer = pagsrv_stat(board, word(1), word(2), &entry);

    if (!answer)
        tell_entry(&entry);
    return answer;
}

static long do_wait(void)
{
    struct pagsrv_entry entry;
    long answer = pagsrv_wait(board, word(1), word(2), (int)number(3), &entry);

    if (!answer)
        tell_entry(&entry);
    return answer;
}

static int show(const struct pagsrv_entry *entry, void *with)
{
    long *left = with;

    tell_entry(entry);
    return --*left ? 0 : 42;
}

static long do_list(void)
{
    long most = word(2) ? number(2) : -1;

    return pagsrv_list(board, word(1), show, &most);
}

/* Each entry of a listing opened while it goes on. */
static int open_it(const struct pagsrv_entry *entry, void *with)
{
    int fd = pagsrv_open(board, entry->name, entry->scope);

    ++*(int *)with;
    return fd < 0 ? -1 : close(fd);
}

static long do_openall(void)
{
    int opened = 0;
    int answer = pagsrv_list(board, word(1), open_it, &opened);

    return answer ? answer : opened;
}

/* ---- other calls --------------------------------------------------------------------------- */

static long do_whois(void)
{
    struct pagsrv_identity is;
    long answer = pagsrv_whois(board, (int)number(1), &is);

    if (!answer)
        tell("\t%d|%d|%d|%d|%u|%s|%s|%u|%d|%u|%u", is.known_session, is.known_pag, is.known_cred,
             is.alive, is.session, is.isolation, is.session_proof, is.pag, is.pid, is.uid, is.gid);
    return answer;
}

static long do_call(void)
{
    int fds[MOST], received[MOST];
    size_t got = (size_t)number(3);
    char *answer;

    for (int i = 4; i < count; i++)
        fds[i - 4] = (int)number(i);
    answer = pagsrv_call(board, word(1), word(2), fds, count > 4 ? (size_t)count - 4 : 0,
                         word(3) ? received : NULL, word(3) ? &got : NULL);
    if (!answer)
        return -1;
    tell("\t%s", answer);
    for (size_t i = 0; word(3) && i < got; i++)
        tell("\t%d", received[i]);
    free(answer);
    return 0;
}

/* ---- around -------------------------------------------------------------------------------- */

static long do_file(void)
{
    return open(word(1), O_RDONLY | O_CLOEXEC);
}

static long do_read(void)
{
    char said[256] = "";
    ssize_t size = pread((int)number(1), said, sizeof said - 1, 0);

    said[strcspn(said, "\n")] = 0;
    tell("\t%s\t%d", said, fcntl((int)number(1), F_GETFD));
    return size < 0 ? -1 : 0;
}

static long do_closefd(void)
{
    return close((int)number(1));
}

static long do_fds(void)
{
    DIR *all = opendir("/proc/self/fd");
    long found = 0;

    while (readdir(all))
        found++;
    closedir(all);
    return found - 3;   /* ".", "..", and the listing's own */
}

static long do_loop(void)
{
    for (long i = 0; i < number(1); i++) {
        int fd = pagsrv_open(board, word(2), word(3));

        if (fd < 0 || close(fd))
            return -1;
    }
    return 0;
}

static long do_listen(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    strncpy(at.sun_path, word(1), sizeof at.sun_path - 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 8) ? -1 : listener;
}

static long do_accept(void)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

static void heard(int signal)
{
    (void)signal;
}

/* A signal MILLISECONDS from now, whose handler interrupts system calls. */
static long do_alarm(void)
{
    struct sigaction how = { .sa_handler = heard };
    struct itimerval when = { .it_value = { number(1) / 1000, number(1) % 1000 * 1000 },
                              .it_interval = { 0, word(2) ? 1000 : 0 } };

    return sigaction(SIGALRM, &how, NULL) || setitimer(ITIMER_REAL, &when, NULL) ? -1 : 0;
}

static const struct {
    const char *name;
    long (*what)(void);
} commands[] = {
    { "connect", do_connect }, { "attach", do_attach }, { "close", do_close },
    { "scopes", do_scopes }, { "fileno", do_fileno }, { "open", do_open }, { "take", do_take },
    { "many", do_many }, { "beneath", do_beneath }, { "post", do_post }, { "remove", do_remove }, { "rename", do_rename },
    { "mask", do_mask }, { "stat", do_stat }, { "wait", do_wait }, { "list", do_list },
    { "openall", do_openall }, { "whois", do_whois }, { "call", do_call }, { "file", do_file },
    { "read", do_read }, { "closefd", do_closefd }, { "fds", do_fds }, { "loop", do_loop },
    { "listen", do_listen }, { "accept", do_accept }, { "alarm", do_alarm },
};

static void carry_out(void)
{
    long answer = -2;

    more[0] = 0;
    errno = 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].name, words[0]))
            answer = commands[i].what();
    printf("%ld\t%d\t%d\t%s%s\n", answer, answer < 0 ? errno : 0, answer < 0 ? pagsrv_status() : 0,
           answer < 0 ? pagsrv_sentence() : "", more);
    fflush(stdout);
}

/* "fork WORDS": the rest is done by a child. */
static void in_child(void)
{
    pid_t child = fork();

    if (!child) {
        memmove(words, words + 1, (size_t)--count * sizeof *words);
        carry_out();
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(void)
{
    static char line[1 << 17];

    for (;;) {
        char *rest = line;

        errno = 0;
        if (!fgets(line, sizeof line, stdin)) {
            if (errno != EINTR)
                break;
            clearerr(stdin);
            continue;
        }

        line[strcspn(line, "\n")] = 0;
        for (count = 0; rest && count < MOST; count++)
            words[count] = strsep(&rest, "\t");
        if (!strcmp(words[0], "fork"))
            in_child();
        else
            carry_out();
    }
    if (listener >= 0)
        close(listener);
    return 0;
}
