/* SPDX-License-Identifier: MIT */
/* The C client of s6-fdholderd, through its own library.
 *
 *     s6 load|open|names|connect SOCKET [options of bench.h]
 *
 * The law: only public calls of s6/fdholder.h, so that the figures are those
 * any user of that library gets.
 */
#include "bench.h"
#include <fcntl.h>
#include <s6/fdholder.h>
#include <skalibs/stralloc.h>
#include <skalibs/tai.h>

struct state {
    const struct options *options;
    s6_fdholder_t holder;
    tain deadline;
    char (*names)[NAME_FIELD];
    stralloc list;
};

static void *start_unconnected(const struct options *options)
{
    struct state *state = calloc(1, sizeof *state);
    tain hour;
    if (!state || !(state->names = calloc(options->entries, NAME_FIELD)))
        die("no memory");
    state->options = options;
    for (unsigned i = 0; i < options->entries; i++)
        entry_name(state->names[i], i);
    tain_now_set_stopwatch_g();
    tain_uint(&hour, 3600);
    tain_add_g(&state->deadline, &hour);
    return state;
}

static void begin(struct state *state)
{
    memset(&state->holder, 0, sizeof state->holder);
    if (!s6_fdholder_start_g(&state->holder, state->options->path, &state->deadline))
        die("cannot connect to %s", state->options->path);
}

static void *start(const struct options *options)
{
    struct state *state = start_unconnected(options);
    begin(state);
    return state;
}

static void open_entry(void *opaque, unsigned number)
{
    struct state *state = opaque;
    const char *name = state->names[pick(state->options, number)];
    int fd = s6_fdholder_retrieve_g(&state->holder, name, &state->deadline);
    if (fd < 0)
        die("s6-fdholderd has no %s", name);
    close(fd);
}

static void connect_and_open(void *opaque, unsigned number)
{
    struct state *state = opaque;
    begin(state);
    open_entry(state, number);
    s6_fdholder_end(&state->holder);
}

static void list_names(void *opaque, unsigned number)
{
    struct state *state = opaque;
    (void)number;
    state->list.len = 0;
    int count = s6_fdholder_list_g(&state->holder, &state->list, &state->deadline);
    if (count != (int)state->options->entries)
        die("%d names listed, %u expected", count, state->options->entries);
}

/* Every descriptor gets an end of its own: with equal ones the holder walks to
 * a free nanosecond for each, which would be measured as its own slowness. */
static void load(const struct options *options)
{
    struct state *state = start(options);
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (unsigned i = 0; i < options->entries; i++) {
        tain after, end;
        tain_uint(&after, 86400 + i);
        tain_add_g(&end, &after);
        if (!s6_fdholder_store_g(&state->holder, fd, state->names[i], &end, &state->deadline))
            die("s6-fdholderd refused entry %u", i);
    }
}

int main(int argc, char **argv)
{
    static const struct { const char *name; struct client client; } modes[] = {
        {"open", {start, open_entry}},
        {"names", {start, list_names}},
        {"connect", {start_unconnected, connect_and_open}},
    };
    if (argc > 2 && !strcmp(argv[1], "load")) {
        struct options options = parse(argc, argv);
        load(&options);
        return 0;
    }
    for (size_t i = 0; argc > 2 && i < sizeof modes / sizeof *modes; i++) {
        if (!strcmp(argv[1], modes[i].name)) {
            struct options options = parse(argc, argv);
            run(&modes[i].client, &options, SOCK_STREAM);
            return 0;
        }
    }
    fprintf(stderr, "usage: s6 load|open|names|connect SOCKET [OPTION]...\n");
    return 2;
}
