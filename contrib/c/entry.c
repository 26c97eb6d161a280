/* SPDX-License-Identifier: MIT */
/* Entries and scopes as the broker tells them, made structs.
 *
 * The law: every member that is looked for is there and of its kind, or it is no entry; what is
 * told besides is let pass.  It refuses to know who asked.
 */
#include "board.h"
#include <string.h>

/* A string, or null for "". */
static int optional(struct json value, char *into, size_t room)
{
    into[0] = 0;
    return json_kind(value) == '0' ? 0 : json_string(value, into, room);
}

static int number_of(struct json value, const char *name, uint64_t most, uint64_t *number)
{
    return json_unsigned(json_member(value, name), number) || *number > most ? -1 : 0;
}

static int read_people(struct json value, struct pagsrv_entry *entry)
{
    struct json owner = json_member(value, "owner"), poster = json_member(value, "poster");
    uint64_t uid, gid, pid = 0;

    if (number_of(owner, "uid", UINT32_MAX, &uid) || number_of(owner, "gid", UINT32_MAX, &gid))
        return -1;
    if (json_kind(poster) != '0' &&
        (number_of(poster, "pid", INT32_MAX, &pid) ||
         json_cut(json_member(poster, "comm"), entry->poster_comm, sizeof entry->poster_comm)))
        return -1;
    entry->owner_uid = (uid_t)uid;
    entry->owner_gid = (gid_t)gid;
    entry->poster_pid = (pid_t)pid;
    return 0;
}

static int read_numbers(struct json value, struct pagsrv_entry *entry)
{
    struct json last = json_member(value, "last_opened");

    entry->assigned = json_bool(json_member(value, "assigned"));
    if (json_kind(json_member(value, "assigned")) != 'b' ||
        json_unsigned(json_member(value, "generation"), &entry->generation) ||
        json_unsigned(json_member(value, "opens"), &entry->opens) ||
        json_real(json_member(value, "created"), &entry->created))
        return -1;
    return json_kind(last) == '0' ? 0 : json_real(last, &entry->last_opened);
}

/* "lv" as "-l---v". */
static int read_rights(struct json value, char rights[7])
{
    char held[7];

    if (json_string(value, held, sizeof held))
        return -1;
    memcpy(rights, "alswrv", 7);
    for (size_t i = 0; i < 6; i++)
        if (!strchr(held, rights[i]))
            rights[i] = '-';
    return 0;
}

int entry_read(struct json value, struct pagsrv_entry *entry)
{
    memset(entry, 0, sizeof *entry);
    if (json_string(json_member(value, "scope"), entry->scope, sizeof entry->scope) ||
        json_string(json_member(value, "name"), entry->name, sizeof entry->name) ||
        optional(json_member(value, "kind"), entry->kind, sizeof entry->kind) ||
        optional(json_member(value, "access"), entry->access, sizeof entry->access) ||
        json_string(json_member(value, "mask"), entry->mask, sizeof entry->mask) ||
        read_rights(json_member(value, "rights"), entry->rights))
        return -1;
    return read_numbers(value, entry) || read_people(value, entry) ? -1 : 0;
}

int entry_of(struct pagsrv *board, struct json parameters, struct pagsrv_entry *entry)
{
    if (entry_read(json_member(parameters, "entry"), entry))
        return board_nonsense(board, "the broker's answer holds no entry");
    return 0;
}

int scope_read(struct json value, struct pagsrv_scope *scope)
{
    if (json_string(json_member(value, "scope"), scope->scope, sizeof scope->scope) ||
        json_cut(json_member(value, "proof"), scope->proof, sizeof scope->proof) ||
        json_cut(json_member(value, "isolation"), scope->isolation, sizeof scope->isolation))
        return -1;
    return 0;
}
