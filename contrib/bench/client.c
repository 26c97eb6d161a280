/* SPDX-License-Identifier: MIT */
/* The C client of the broker and of the floor, and a meter for whole commands.
 *
 *     client floor|board|names|entries|connect SOCKET [options of bench.h]
 *     client spawn SECONDS COMMAND...
 *
 * The law: requests are made before the clock runs, every reply is compared
 * with the one expected, and each descriptor is closed inside the time taken.
 */
#include "bench.h"
#include <spawn.h>

#define LARGEST_MESSAGE (64 * 1024 + 1)

struct state {
    const struct options *options;
    int fd;
    struct request { char bytes[128]; size_t length; } *requests;
    char reply[LARGEST_MESSAGE];
    char *names;                /* what a list answered, each name ended by NUL */
    size_t room;
};

static struct state *connected(const struct options *options)
{
    struct state *state = calloc(1, sizeof *state);
    if (!state)
        die("no memory");
    state->options = options;
    state->fd = dial(options->path, SOCK_SEQPACKET);
    return state;
}

static void attach(int fd, char *reply)
{
    static const char call[] =
        "{\"method\":\"org.pagsrv.Board.Attach\",\"parameters\":{\"scopes\":[\"user\"]}}";
    int none;
    if (send(fd, call, sizeof call - 1, MSG_NOSIGNAL) < 0)
        die("cannot send");
    size_t length = receive(fd, reply, LARGEST_MESSAGE - 1, &none);
    reply[length] = 0;
    if (strstr(reply, "\"error\""))
        die("Attach refused: %s", reply);
}

static void *start_floor(const struct options *options)
{
    struct state *state = connected(options);
    state->requests = calloc(options->entries, sizeof *state->requests);
    for (unsigned i = 0; i < options->entries; i++) {
        entry_name(state->requests[i].bytes + 8, i);
        state->requests[i].length = 8 + NAME_FIELD;
    }
    return state;
}

static void make_opens(struct state *state)
{
    unsigned entries = state->options->entries;
    state->requests = calloc(entries, sizeof *state->requests);
    for (unsigned i = 0; i < entries; i++) {
        struct request *request = &state->requests[i];
        char name[NAME_FIELD];
        entry_name(name, i);
        request->length = (size_t)snprintf(
            request->bytes, sizeof request->bytes,
            "{\"method\":\"org.pagsrv.Board.Open\",\"parameters\":{\"name\":\"%s\"}}", name);
    }
}

static void *start_board(const struct options *options)
{
    struct state *state = connected(options);
    attach(state->fd, state->reply);
    make_opens(state);
    return state;
}

static void *start_unconnected(const struct options *options)
{
    struct state *state = calloc(1, sizeof *state);
    state->options = options;
    make_opens(state);
    return state;
}

static int ask(struct state *state, unsigned number, size_t *length)
{
    struct request *request = &state->requests[pick(state->options, number)];
    int fd;
    if (send(state->fd, request->bytes, request->length, MSG_NOSIGNAL) < 0)
        die("cannot send");
    *length = receive(state->fd, state->reply, sizeof state->reply - 1, &fd);
    return fd;
}

static void open_floor(void *opaque, unsigned number)
{
    struct state *state = opaque;
    size_t length;
    int fd = ask(state, number, &length);
    if (fd < 0 || length != 16)
        die("the floor answered %zu bytes", length);
    close(fd);
}

static void open_board(void *opaque, unsigned number)
{
    static const char expected[] = "{\"parameters\":{\"fd\":0}}";
    struct state *state = opaque;
    size_t length;
    int fd = ask(state, number, &length);
    if (fd < 0 || length != sizeof expected - 1 || memcmp(state->reply, expected, length))
        die("the broker answered %.*s", (int)length, state->reply);
    close(fd);
}

static void connect_board(void *opaque, unsigned number)
{
    struct state *state = opaque;
    state->fd = dial(state->options->path, SOCK_SEQPACKET);
    attach(state->fd, state->reply);
    open_board(state, number);
    close(state->fd);
}

/* The names of one reply, as NUL-ended strings: what s6's own library hands out. */
static unsigned collect(struct state *state, const char *at, size_t *used)
{
    unsigned count = 0;
    while (*at == '"') {
        const char *end = strchr(at + 1, '"');
        size_t length = (size_t)(end - at - 1);
        if (*used + length + 1 > state->room) {
            state->room = (state->room + length) * 2 + 4096;
            state->names = realloc(state->names, state->room);
            if (!state->names)
                die("no memory");
        }
        memcpy(state->names + *used, at + 1, length);
        state->names[*used + length] = 0;
        *used += length + 1;
        count++;
        at = end + 1 + (end[1] == ',');
    }
    return count;
}

static unsigned count_entries(const char *at)
{
    unsigned count = 0;
    while ((at = strstr(at, "\"name\":\""))) {
        count++;
        at += 8;
    }
    return count;
}

static void list(struct state *state, const char *call, const char *key)
{
    unsigned count = 0;
    size_t used = 0;
    int none, more = 1;
    if (send(state->fd, call, strlen(call), MSG_NOSIGNAL) < 0)
        die("cannot send");
    while (more) {
        size_t length = receive(state->fd, state->reply, sizeof state->reply - 1, &none);
        state->reply[length] = 0;
        char *found = strstr(state->reply, key);
        if (!found)
            die("the broker answered %.200s", state->reply);
        count += key[1] == 'n' ? collect(state, found + strlen(key), &used)
                               : count_entries(found);
        const char *tail = state->reply + (length > 32 ? length - 32 : 0);
        more = strstr(tail, "\"continues\":true") != NULL;
    }
    if (count != state->options->entries)
        die("%u entries listed, %u expected", count, state->options->entries);
}

static void list_names(void *state, unsigned number)
{
    (void)number;
    list(state, "{\"method\":\"org.pagsrv.Board.List\",\"parameters\":{\"names\":true},"
                "\"more\":true}", "\"names\":[");
}

static void list_entries(void *state, unsigned number)
{
    (void)number;
    list(state, "{\"method\":\"org.pagsrv.Board.List\",\"parameters\":{},\"more\":true}",
         "\"entries\":[");
}

static void *start_spawn(const struct options *options)
{
    return (void *)options->path;
}

static void spawn_once(void *command, unsigned number)
{
    extern char **environ;
    char **argv = command;
    pid_t child;
    int status;
    (void)number;
    errno = posix_spawnp(&child, argv[0], NULL, NULL, argv, environ);
    if (errno || waitpid(child, &status, 0) != child || status)
        die("%s failed", argv[0]);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; struct client client; } modes[] = {
        {"floor", {start_floor, open_floor}},
        {"board", {start_board, open_board}},
        {"names", {start_board, list_names}},
        {"entries", {start_board, list_entries}},
        {"connect", {start_unconnected, connect_board}},
    };
    if (argc > 3 && !strcmp(argv[1], "spawn")) {
        struct options options = {.path = (void *)(argv + 3), .jobs = 1,
                                  .seconds = strtod(argv[2], NULL)};
        const struct client client = {start_spawn, spawn_once};
        run(&client, &options, 0);
        return 0;
    }
    for (size_t i = 0; argc > 2 && i < sizeof modes / sizeof *modes; i++) {
        if (!strcmp(argv[1], modes[i].name)) {
            struct options options = parse(argc, argv);
            run(&modes[i].client, &options, SOCK_SEQPACKET);
            return 0;
        }
    }
    fprintf(stderr, "usage: client floor|board|names|entries|connect|spawn SOCKET [OPTION]...\n");
    return 2;
}
