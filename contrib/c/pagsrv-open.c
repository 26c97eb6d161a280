/* SPDX-License-Identifier: MIT */
/* pagsrv-open: run a command with entries as descriptors, as `pagsrv open` does, only sooner.
 *
 * The law: nothing is opened before every word is understood, and all of the names are or none;
 * what is said goes to what was stderr when we began, and into no entry.  The same sentences and
 * statuses as `pagsrv open` (docs/reference/errors.md).  It refuses to know how a broker is spoken
 * to.
 */
#include "opening.h"
#include "pagsrv.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct opening opening = { .errors = 2 };

void fail(int status, const char *format, ...)
{
    char said[4096];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(said, sizeof said, format, arguments);
    va_end(arguments);
    for (int i = 0; i < size && i < (int)sizeof said; i++)
        if ((unsigned char)said[i] < ' ')
            said[i] = '?';
    dprintf(opening.errors, "pagsrv-open: %s\n", said);
    exit(status);
}

__attribute__((noreturn))
static void refused(void)
{
    fail(pagsrv_status(), "%s", pagsrv_sentence());
}

void *memory(size_t count, size_t size)
{
    void *room = calloc(count, size);

    if (!room)
        fail(OTHER, "the system is short of something: %s; see `ulimit -a`", strerror(ENOMEM));
    return room;
}

/* ---- words --------------------------------------------------------------------------------- */

__attribute__((noreturn))
static void teach(void)
{
    static const char help[] =
        "pagsrv-open: run a command with entries as descriptors\n\n"
        "  pagsrv-open NAME[=FD]... [--scope S] [--access A] [--dir DIR] -- CMD...\n\n"
        "Each NAME becomes a descriptor of CMD, from 3 up, or FD if NAME=FD says so (the\n"
        "last = counts, if only digits follow). Several names: all or none. If the\n"
        "descriptors run from 3 without a gap, LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID\n"
        "are set as systemd sets them. CMD replaces this command, so its exit status is\n"
        "the one you get. NAME/PATH is a file or directory beneath a posted directory,\n"
        "opened anew with the rights of whoever posted that, for reading unless --access\n"
        "says otherwise. It does what `pagsrv open` does, and starts sooner.\n\n"
        "Words and options\n"
        "  NAME[=FD]             an entry, and which descriptor of CMD it becomes\n"
        "  --scope S             session, pag or user for your own; session:N, pag:N or\n"
        "                        user:N exactly\n"
        "  --access A            what for, beneath a directory: r (the default), w or rw;\n"
        "                        writing takes the write right\n"
        "  --dir DIR             the broker's directory (default: $PAGSRV_DIR,\n"
        "                        $XDG_RUNTIME_DIR/pagsrv, /run/pagsrv)\n"
        "  CMD                   the command and its arguments, after --\n"
        "  -h, --help            teach\n\n"
        "Example\n"
        "  pagsrv-open db -- sh -c 'head -n 1 <&3'\n";
    const char *at = help, *end = help + sizeof help - 1;

    while (at < end) {
        ssize_t size = write(1, at, (size_t)(end - at));

        if (size < 0)
            fail(OTHER, "stdout cannot be written to: %s", strerror(errno));
        at += size;
    }
    exit(0);
}

/* The value of option NAME at *AT, which moves on; NULL if that is another word. */
static const char *option(const char *name, char ***at, char **end)
{
    size_t size = strlen(name);
    const char *value;

    if (strncmp(**at, name, size) || ((**at)[size] && (**at)[size] != '='))
        return NULL;
    value = (**at)[size] ? **at + size + 1 : ++*at < end ? **at : NULL;
    if (!value)
        fail(USAGE, "argument %s: expected one argument" LOOK, name);
    return value;
}

static void read_words(int argc, char **argv)
{
    char **end = argv + argc, **at, **stop = argv + 1;
    const char *value;

    for (at = argv + 1; at < end && strcmp(*at, "--"); at++)
        if (!strcmp(*at, "-h") || !strcmp(*at, "--help"))
            teach();
    while (stop < end && strcmp(*stop, "--"))
        stop++;
    if (stop + 1 >= end)
        fail(USAGE, "after -- comes the command to run" LOOK);
    opening.command = stop + 1;
    opening.names = memory((size_t)argc, sizeof *opening.names);
    for (at = argv + 1; at < stop; at++) {
        if ((value = option("--dir", &at, stop)))
            opening.directory = value;
        else if ((value = option("--scope", &at, stop)))
            opening.scope = value;
        else if ((value = option("--access", &at, stop)))
            opening.access = value;
        else if (**at == '-')
            fail(USAGE, "unrecognized arguments: %s" LOOK, *at);
        else
            opening.names[opening.count++] = *at;
    }
    if (!opening.count)
        fail(USAGE, "the following arguments are required: NAME" LOOK);
}

/* ---- from the board ------------------------------------------------------------------------ */

/* NAME in full, where SCOPE may be one of the three words. */
static char *in_full(struct pagsrv *board, const char *name, const char *scope)
{
    struct pagsrv_scope proved[8];
    int count = pagsrv_scopes(board, proved, 8);
    size_t size = strlen(scope);
    char *full = NULL;

    if (count < 0)
        refused();
    for (int i = 0; i < count && i < 8; i++)
        if (!strncmp(proved[i].scope, scope, size) && strchr(":", proved[i].scope[size]))
            scope = proved[i].scope;
    if (!strchr(scope, ':') && strcmp(scope, "session") && strcmp(scope, "pag") &&
        strcmp(scope, "user"))
        fail(USAGE, "'%s' is no scope: say session, pag or user for your own, or exactly "
             "session:N, pag:N or user:N with a decimal number", scope);
    if (!strchr(scope, ':'))
        fail(NO_SESSION, "you are proved in no %s scope; `pagsrv whoami` says why", scope);
    if (asprintf(&full, "%s/%s", scope, name) < 0)
        refused();
    return full;
}

/* ---- main ---------------------------------------------------------------------------------- */

static void fetch(struct pagsrv *board, int *fds)
{
    if (opening.count == 1 && !opening.access) {
        fds[0] = pagsrv_open(board, opening.names[0], opening.scope);
        if (fds[0] < 0)
            refused();
        return;
    }
    for (size_t i = 0; opening.scope && i < opening.count; i++)
        if (opening_bare(opening.names[i]) == opening.names[i])
            opening.names[i] = in_full(board, opening.names[i], opening.scope);
    if (pagsrv_open_beneath(board, (const char *const *)opening.names, opening.count,
                            opening.access, fds))
        refused();
}

int main(int argc, char **argv)
{
    struct pagsrv *board;
    int *fds;

    read_words(argc, argv);
    opening_plan(&opening);
    opening_environment(&opening);
    opening_find(&opening);
    opening_guard(&opening);
    fds = memory(opening.count, sizeof *fds);
    board = pagsrv_connect(opening.directory, 0);
    if (!board || pagsrv_attach(board, NULL))
        refused();
    fetch(board, fds);
    /* execve(2) hangs up, and frees, sooner than we could. */
    opening_become(&opening, fds);
}
