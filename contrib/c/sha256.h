/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4) of a short text, for the proof of possession.
 *
 * The law: one function, no state, no allocation.  What it hashes is no secret, and so it takes no
 * care of times and traces.  It refuses to know what the digest proves.
 */
#ifndef PAGSRV_SHA256_H
#define PAGSRV_SHA256_H
#include <stddef.h>

/* The digest of SIZE bytes in lower-case hexadecimal, with a NUL. */
void sha256_hex(const void *bytes, size_t size, char hex[65]);
#endif
