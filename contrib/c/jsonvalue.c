/* SPDX-License-Identifier: MIT */
/* JSON values made values of C, and the other way round.  Its law is in json.h. */
#include "json.h"
#include <stdio.h>
#include <string.h>

static size_t encoded(uint32_t point, char *into)
{
    if (point < 0x80) {
        into[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        into[0] = (char)(0xc0 | point >> 6);
        into[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        into[0] = (char)(0xe0 | point >> 12);
        into[1] = (char)(0x80 | (point >> 6 & 0x3f));
        into[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    into[0] = (char)(0xf0 | point >> 18);
    into[1] = (char)(0x80 | (point >> 12 & 0x3f));
    into[2] = (char)(0x80 | (point >> 6 & 0x3f));
    into[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

static uint32_t hexadecimal(const char *at)
{
    uint32_t point = 0;

    for (int i = 0; i < 4; i++)
        point = point << 4 | (uint32_t)(at[i] <= '9' ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
    return point;
}

/* The next character of a checked string, its bytes in INTO; where the one after it begins. */
static const char *character(const char *at, const char *end, char *into, size_t *size)
{
    static const char letters[] = "bfnrt", means[] = "\b\f\n\r\t";
    const char *letter;
    uint32_t point;

    if (*at != '\\') {
        *size = utf8_character(at, end);
        memcpy(into, at, *size);
        return at + *size;
    }
    if (at[1] != 'u') {
        letter = strchr(letters, at[1]);
        into[0] = letter ? means[letter - letters] : at[1];
        *size = 1;
        return at + 2;
    }
    point = hexadecimal(at + 2);
    at += 6;
    if (point >= 0xd800 && point < 0xe000) {
        point = 0x10000u + ((point & 0x3ff) << 10 | (hexadecimal(at + 2) & 0x3ff));
        at += 6;
    }
    *size = encoded(point, into);
    return at;
}

static int copy(struct json value, char *into, size_t room, int cut)
{
    const char *at = value.at ? value.at + 1 : NULL;
    size_t used = 0, size;
    char bytes[4];

    if (json_kind(value) != 's' || !room)
        return -1;
    while (at < value.end - 1) {
        at = character(at, value.end, bytes, &size);
        if (!bytes[0] || (used + size >= room && !cut))
            return -1;
        if (used + size >= room)
            break;
        memcpy(into + used, bytes, size);
        used += size;
    }
    into[used] = 0;
    return 0;
}

int json_string(struct json value, char *into, size_t room)
{
    return copy(value, into, room, 0);
}

int json_cut(struct json value, char *into, size_t room)
{
    return copy(value, into, room, 1);
}

int json_is(struct json value, const char *text)
{
    const char *at = value.at ? value.at + 1 : NULL;
    char bytes[4];
    size_t size;

    if (json_kind(value) != 's')
        return 0;
    while (at < value.end - 1) {
        at = character(at, value.end, bytes, &size);
        if (strncmp(text, bytes, size) || !bytes[0])
            return 0;
        text += size;
    }
    return !*text;
}

int json_bool(struct json value)
{
    return value.at && *value.at == 't';
}

int json_unsigned(struct json value, uint64_t *number)
{
    uint64_t sum = 0;

    if (json_kind(value) != 'n')
        return -1;
    for (const char *at = value.at; at < value.end; at++) {
        unsigned digit = (unsigned)(*at - '0');

        if (digit > 9 || sum > (UINT64_MAX - digit) / 10)
            return -1;
        sum = sum * 10 + digit;
    }
    *number = sum;
    return 0;
}

/* strtod(3) heeds the locale's decimal point.  Here: 19 digits and a power of ten, which is exact
 * to the last place but one for whatever is a time or a count. */
int json_real(struct json value, double *number)
{
    const char *at = value.at;
    long double real = 0, scale = 1;
    int point = 0, power = 0, many = 0, told = 0, minus;

    if (json_kind(value) != 'n')
        return -1;
    minus = *at == '-';
    for (at += minus; at < value.end && (*at | 32) != 'e'; at++) {
        if (*at == '.') {
            point = 1;
        } else if (many < 19) {
            real = real * 10 + (*at - '0');
            many += real > 0;
            power -= point;
        } else {
            power += !point;
        }
    }
    if (at < value.end) {
        int less = at[1] == '-';

        for (at += 1 + (at[1] == '-' || at[1] == '+'); at < value.end; at++)
            told = told < 10000 ? told * 10 + (*at - '0') : told;
        power += less ? -told : told;
    }
    for (int i = 0; i < (power < 0 ? -power : power) && i < 400; i++)
        scale *= 10;
    real = power < 0 ? real / scale : real * scale;
    if (real > 1.7976931348623157e308L)
        return -1;
    *number = (double)(minus ? -real : real);
    return 0;
}

/* ---- written ------------------------------------------------------------------------------- */

void text_raw(struct text *text, const char *bytes, size_t size)
{
    if (text->too_long || size > text->room - text->used) {
        text->too_long = 1;
        return;
    }
    memcpy(text->bytes + text->used, bytes, size);
    text->used += size;
}

void text_words(struct text *text, const char *words)
{
    text_raw(text, words, strlen(words));
}

void text_next(struct text *text)
{
    if (text->used && !strchr("{[:", text->bytes[text->used - 1]))
        text_raw(text, ",", 1);
}

void text_member(struct text *text, const char *name)
{
    text_next(text);
    text_raw(text, "\"", 1);
    text_words(text, name);
    text_raw(text, "\":", 2);
}

void text_string(struct text *text, const char *string, size_t size)
{
    const char *end = string + size;
    char escaped[8];

    text_next(text);
    text_raw(text, "\"", 1);
    while (string < end) {
        size = utf8_character(string, end);
        if (!size) {
            text->not_utf8 = 1;
            return;
        }
        if ((unsigned char)*string < ' ' || *string == '"' || *string == '\\') {
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned char)*string);
            text_words(text, escaped);
        } else {
            text_raw(text, string, size);
        }
        string += size;
    }
    text_raw(text, "\"", 1);
}

void text_number(struct text *text, uint64_t number)
{
    char digits[24];

    text_next(text);
    text_raw(text, digits, (size_t)snprintf(digits, sizeof digits, "%llu",
                                            (unsigned long long)number));
}
