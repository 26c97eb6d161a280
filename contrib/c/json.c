/* SPDX-License-Identifier: MIT */
/* JSON read where it lies.  Its law is in json.h.
 *
 * What walks over a value (past) expects a checked text: so it looks for brackets and quotes only.
 */
#include "json.h"
#include <string.h>

size_t utf8_character(const char *at, const char *end)
{
    const unsigned char *byte = (const unsigned char *)at;
    size_t left = (size_t)(end - at), size;
    uint32_t point;

    if (!left)
        return 0;
    if (byte[0] < 0x80)
        return 1;
    size = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || left < size)
        return 0;
    point = byte[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (byte[i] & 0x3f);
    }
    if ((size == 3 && point < 0x800) || (size == 4 && (point < 0x10000 || point > 0x10ffff)))
        return 0;
    return point >= 0xd800 && point < 0xe000 ? 0 : size;
}

/* ---- checked ------------------------------------------------------------------------------- */

static const char *blank(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static int hex(const char *at, const char *end)
{
    int point = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = at[i] >= '0' && at[i] <= '9' ? at[i] - '0'
            : (at[i] | 32) >= 'a' && (at[i] | 32) <= 'f' ? (at[i] | 32) - 'a' + 10 : -1;

        if (digit < 0)
            return -1;
        point = point << 4 | digit;
    }
    return point;
}

/* Behind the escape whose backslash is at AT, and its code point; NULL if it is none. */
static const char *escape(const char *at, const char *end, uint32_t *point)
{
    static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *letter;
    int first, second;

    if (end - at < 2)
        return NULL;
    if (at[1] != 'u') {
        letter = at[1] ? strchr(letters, at[1]) : NULL;
        *point = letter ? (unsigned char)means[letter - letters] : 0;
        return letter ? at + 2 : NULL;
    }
    first = hex(at + 2, end);
    if (first < 0 || (first >= 0xdc00 && first < 0xe000))
        return NULL;
    *point = (uint32_t)first;
    if (first < 0xd800 || first >= 0xe000)
        return at + 6;
    if (end - at < 12 || at[6] != '\\' || at[7] != 'u')
        return NULL;
    second = hex(at + 8, end);
    if (second < 0xdc00 || second >= 0xe000)
        return NULL;
    *point = 0x10000u + (((uint32_t)first & 0x3ff) << 10 | ((uint32_t)second & 0x3ff));
    return at + 12;
}

static const char *check_string(const char *at, const char *end)
{
    uint32_t point;
    size_t size;

    if (at >= end || *at++ != '"')
        return NULL;
    while (at && at < end && *at != '"') {
        if (*at == '\\') {
            at = escape(at, end, &point);
        } else {
            size = (unsigned char)*at < ' ' ? 0 : utf8_character(at, end);
            at = size ? at + size : NULL;
        }
    }
    return at && at < end ? at + 1 : NULL;
}

static const char *digits(const char *at, const char *end)
{
    const char *from = at;

    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at == from ? NULL : at;
}

static const char *check_number(const char *at, const char *end)
{
    if (at < end && *at == '-')
        at++;
    at = at < end && *at == '0' ? at + 1 : digits(at, end);
    if (at && at < end && *at == '.')
        at = digits(at + 1, end);
    if (at && at < end && (*at | 32) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = digits(at, end);
    }
    return at;
}

static const char *check_word(const char *at, const char *end, const char *word)
{
    size_t size = strlen(word);

    return (size_t)(end - at) >= size && !memcmp(at, word, size) ? at + size : NULL;
}

static const char *check_value(const char *at, const char *end, int depth);

static const char *check_within(const char *at, const char *end, int depth)
{
    char object = *at == '{', close = object ? '}' : ']';

    at = blank(at + 1, end);
    if (at < end && *at == close)
        return at + 1;
    for (;;) {
        if (object) {
            at = check_string(at, end);
            at = at ? blank(at, end) : end;
            if (at >= end || *at++ != ':')
                return NULL;
            at = blank(at, end);
        }
        at = check_value(at, end, depth + 1);
        at = at ? blank(at, end) : end;
        if (at >= end)
            return NULL;
        if (*at == close)
            return at + 1;
        if (*at++ != ',')
            return NULL;
        at = blank(at, end);
    }
}

/* Behind the value at AT; NULL if there is none. */
static const char *check_value(const char *at, const char *end, int depth)
{
    if (at >= end || depth > JSON_DEPTH)
        return NULL;
    switch (*at) {
    case '{':
    case '[':
        return check_within(at, end, depth);
    case '"':
        return check_string(at, end);
    case 't':
        return check_word(at, end, "true");
    case 'f':
        return check_word(at, end, "false");
    case 'n':
        return check_word(at, end, "null");
    default:
        return check_number(at, end);
    }
}

struct json json_check(const char *text, size_t size)
{
    const char *end = text + size, *from = blank(text, end), *to = check_value(from, end, 1);
    struct json none = { NULL, NULL }, value = { from, to };

    return to && blank(to, end) == end ? value : none;
}

/* ---- walked over --------------------------------------------------------------------------- */

static const char *past_string(const char *at)
{
    for (at++; *at != '"'; at++)
        at += *at == '\\';
    return at + 1;
}

static const char *past(const char *at, const char *end)
{
    int depth = 0;

    do {
        if (*at == '"') {
            at = past_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (depth) {
            at++;
        } else {
            while (at < end && !strchr(",]} \t\r\n", *at))
                at++;
        }
    } while (depth && at < end);
    return at;
}

static struct json value_at(const char *at, const char *end)
{
    struct json none = { NULL, NULL }, value;

    at = blank(at, end);
    if (at >= end || *at == ']' || *at == '}')
        return none;
    value.at = at;
    value.end = past(at, end);
    return value;
}

char json_kind(struct json value)
{
    if (!value.at)
        return 0;
    switch (*value.at) {
    case '{':
        return 'o';
    case '[':
        return 'l';
    case '"':
        return 's';
    case 't':
    case 'f':
        return 'b';
    case 'n':
        return '0';
    default:
        return 'n';
    }
}

struct json json_first(struct json list)
{
    struct json none = { NULL, NULL };

    return json_kind(list) == 'l' ? value_at(list.at + 1, list.end) : none;
}

struct json json_next(struct json list, struct json element)
{
    const char *at = blank(element.end, list.end);

    return value_at(*at == ',' ? at + 1 : at, list.end);
}

struct json json_member(struct json value, const char *name)
{
    struct json none = { NULL, NULL }, key, found;

    if (json_kind(value) != 'o')
        return none;
    for (key = value_at(value.at + 1, value.end); key.at; key = json_next(value, found)) {
        found = value_at(blank(key.end, value.end) + 1, value.end);
        if (json_is(key, name))
            return found;
    }
    return none;
}
