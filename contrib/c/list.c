/* SPDX-License-Identifier: MIT */
/* list: every entry of a scope, one after the other.
 *
 * The law: the whole answer is read before the first entry is shown, so that whoever is shown it
 * may use the board.  It refuses to know what the entries are used for.
 */
#include "board.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entries {
    struct pagsrv_entry *all;
    size_t count, room;
};

static int grow(struct entries *entries)
{
    size_t room = entries->room ? entries->room * 2 : 32;
    struct pagsrv_entry *all;

    if (entries->count < entries->room)
        return 0;
    all = reallocarray(entries->all, room, sizeof *all);
    if (!all)
        return -1;
    entries->all = all;
    entries->room = room;
    return 0;
}

static int gather(struct pagsrv *board, struct json parameters, struct entries *entries)
{
    struct json list = json_member(parameters, "entries");

    if (json_kind(list) != 'l' || board->count)
        return board_nonsense(board, "the broker's answer holds no entries");
    for (struct json one = json_first(list); one.at; one = json_next(list, one)) {
        if (grow(entries)) {
            board_end(board, GIVEN_UP);
            return fault(ENOMEM, STATUS_OTHER, "there is no memory for all the entries");
        }
        if (entry_read(one, &entries->all[entries->count++]))
            return board_nonsense(board, "the broker's answer holds what is no entry");
    }
    return 0;
}

/* By name; of one name innermost first, as it would be looked up. */
static int order(const void *one, const void *other)
{
    static const char kinds[] = "spu";
    const struct pagsrv_entry *a = one, *b = other;
    int names = strcmp(a->name, b->name);

    if (names)
        return names;
    if (a->scope[0] != b->scope[0])
        return strchr(kinds, a->scope[0]) < strchr(kinds, b->scope[0]) ? -1 : 1;
    return strcmp(a->scope, b->scope);
}

static int fetch(struct pagsrv *board, const char *scope, struct entries *entries)
{
    struct json parameters;
    struct call call;
    int more;

    if (call_begin(board, &call, "List"))
        return -1;
    call_string(&call, "scope", scope);
    call.more = 1;
    more = call_make(board, &call, &parameters);
    while (more >= 0) {
        if (gather(board, parameters, entries))
            return -1;
        if (!more)
            return 0;
        more = call_more(board, &parameters);
    }
    return -1;
}

int pagsrv_list(struct pagsrv *board, const char *scope,
                int (*each)(const struct pagsrv_entry *entry, void *with), void *with)
{
    struct entries entries = { NULL, 0, 0 };
    int answer = fetch(board, scope, &entries);

    if (!answer && entries.count)
        qsort(entries.all, entries.count, sizeof *entries.all, order);
    for (size_t i = 0; !answer && i < entries.count; i++)
        answer = each(&entries.all[i], with);
    free(entries.all);
    return answer;
}
