/* SPDX-License-Identifier: MIT */
/* The parts of libpagsrv that need no broker, by themselves: SHA-256, the proof, the JSON reader.
 *
 *	unit sha | unit proof NONCE INODE RING UID BROKER | unit json KEY | unit fuzz ROUNDS
 *
 * The law: every text lies in a room of exactly its size, so that a sanitizer sees each byte too
 * many.  It refuses to know what is right.
 */
#include "board.h"
#include "sha256.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char all[1 << 22];

/* TEXT in a room of its own, which the caller frees. */
static char *exactly(const char *text, size_t size)
{
    char *copy = malloc(size ? size : 1);

    if (!copy)
        abort();
    memcpy(copy, text, size);
    return copy;
}

static void show(struct json value, const char *key)
{
    char string[4096];
    uint64_t whole;
    double real;

    switch (json_kind(value)) {
    case 's':
        if (json_string(value, string, sizeof string)) {
            printf("-");
            break;
        }
        printf("\"");
        for (char *at = string; *at; at++)
            printf("%02x", (unsigned char)*at);
        printf("%s", json_is(value, string) ? "\"" : "?");
        break;
    case 'n':
        if (!json_unsigned(value, &whole))
            printf("u%llu", (unsigned long long)whole);
        else if (!json_real(value, &real))
            printf("d%.17g", real);
        else
            printf("-");
        break;
    case 'l':
        printf("[");
        for (struct json one = json_first(value); one.at; one = json_next(value, one)) {
            show(one, key);
            printf(",");
        }
        printf("]");
        break;
    case 'o':
        printf("{");
        show(json_member(value, key), key);
        printf("}");
        break;
    default:
        printf("%c", json_kind(value) ? json_kind(value) + json_bool(value) : '.');
    }
}

static void read_texts(const char *key)
{
    size_t size = fread(all, 1, sizeof all - 1, stdin);

    for (char *at = all; at < all + size; at += strlen(at) + 1) {
        char *text = exactly(at, strlen(at));
        struct json value = json_check(text, strlen(at));

        if (value.at)
            show(value, key);
        else
            printf("!");
        printf("\n");
        free(text);
    }
}

/* Everything that can be asked of VALUE. */
static unsigned walk(struct json value, int depth)
{
    static const char *const names[] = { "parameters", "entry", "scopes", "entries", "owner",
                                         "facts", "a", "" };
    char small[8];
    uint64_t whole;
    double real;
    unsigned seen = 1;

    json_string(value, small, sizeof small);
    json_cut(value, small, sizeof small);
    json_unsigned(value, &whole);
    json_real(value, &real);
    json_is(value, "a\"\n");
    json_bool(value);
    for (struct json one = json_first(value); one.at; one = json_next(value, one))
        seen += walk(one, depth + 1);
    for (size_t i = 0; depth < 6 && i < sizeof names / sizeof *names; i++)
        if (json_member(value, names[i]).at)
            seen += walk(json_member(value, names[i]), depth + 1);
    return seen;
}

static uint32_t chance(uint32_t most)
{
    static uint32_t state = 2463534242u;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % most;
}

static size_t spoil(char *text, size_t size)
{
    static const char bytes[] = "{}[]\",:\\u0019dD8eE.+-tfn \t\x80\xc2\xe0\xf4\xff";

    for (uint32_t i = 1 + chance(4); i && size; i--) {
        size_t at = chance((uint32_t)size);

        if (chance(4) == 0)
            size = at;
        else if (chance(2))
            memmove(text + at, text + at + 1, --size - at);
        else
            text[at] = bytes[chance(sizeof bytes - 1)];
    }
    return size;
}

static void fuzz(long rounds)
{
    size_t size = fread(all, 1, sizeof all - 1, stdin), texts = 0;
    static char *corpus[256];
    unsigned valid = 0, seen = 0;
    struct pagsrv_entry entry;

    for (char *at = all; at < all + size && texts < 256; at += strlen(at) + 1)
        corpus[texts++] = at;
    for (long i = 0; i < rounds; i++) {
        char *from = corpus[chance((uint32_t)texts)], *spoilt = exactly(from, strlen(from));
        size_t left = spoil(spoilt, strlen(from));
        char *text = exactly(spoilt, left);
        struct json value = json_check(text, left);

        valid += value.at != NULL;
        if (value.at) {
            seen += walk(value, 0);
            entry_read(json_member(json_member(value, "parameters"), "entry"), &entry);
        }
        free(spoilt);
        free(text);
    }
    printf("%u %u\n", valid, seen);
}

int main(int argc, char **argv)
{
    char hex[65];

    if (argc == 2 && !strcmp(argv[1], "sha")) {
        size_t size = fread(all, 1, sizeof all, stdin);
        char *text = exactly(all, size);

        sha256_hex(text, size, hex);
        free(text);
        puts(hex);
    } else if (argc == 7 && !strcmp(argv[1], "proof")) {
        prover_digest(argv[2], strtoull(argv[3], NULL, 10), atoi(argv[4]),
                      strtoull(argv[5], NULL, 10), argv[6], hex);
        puts(hex);
    } else if (argc == 3 && !strcmp(argv[1], "json")) {
        read_texts(argv[2]);
    } else if (argc == 3 && !strcmp(argv[1], "fuzz")) {
        fuzz(atol(argv[2]));
    } else {
        return 2;
    }
    return 0;
}
