/* SPDX-License-Identifier: MIT */
/* JSON read where it lies, and JSON written into a buffer (RFC 8259).
 *
 * The law: a text is checked once, whole, by json_check(); the other readers are for values of
 * checked texts and never fail but by saying that a value is not what was asked for.  Nothing is
 * allocated, and no locale counts.  It refuses to know what any member means.
 */
#ifndef PAGSRV_JSON_H
#define PAGSRV_JSON_H
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH 32   /* of objects and lists in one another; our messages have 6 */

/* One value in somebody else's buffer; at NULL there is none. */
struct json {
    const char *at, *end;
};

/* The one value that TEXT is; none if it is no JSON, not UTF-8 or too deep. */
struct json json_check(const char *text, size_t size);

/* 'o' object, 'l' list, 's' string, 'n' number, 'b' true or false, '0' null, 0 if there is none. */
char json_kind(struct json value);
/* The first member of that name; none if there is none, or VALUE is no object. */
struct json json_member(struct json value, const char *name);
/* The elements of a list, first to last; none after the last, or if LIST is no list. */
struct json json_first(struct json list);
struct json json_next(struct json list, struct json element);

/* Each answers 0, or -1 if VALUE is of another kind, out of range, or has no room. */
int json_string(struct json value, char *into, size_t room);    /* ends with a NUL, holds none */
int json_cut(struct json value, char *into, size_t room);       /* cut short where it has no room */
int json_unsigned(struct json value, uint64_t *number);
int json_real(struct json value, double *number);
int json_bool(struct json value);                               /* 1 true, 0 anything else */
int json_is(struct json value, const char *text);               /* 1 if it is that string */

/* How many bytes the UTF-8 character at AT has; 0 if there is none before END (RFC 3629). */
size_t utf8_character(const char *at, const char *end);

/* ---- written ---- */

struct text {
    char *bytes;
    size_t used, room;
    int too_long, not_utf8;     /* what could not be written down; all else is ignored then */
};

void text_raw(struct text *text, const char *bytes, size_t size);
void text_words(struct text *text, const char *words);          /* as they are */
/* A value begins: a comma, where one is missing. */
void text_next(struct text *text);
void text_member(struct text *text, const char *name);          /* "NAME": of our own */
void text_string(struct text *text, const char *string, size_t size);
void text_number(struct text *text, uint64_t number);
#endif
