/* SPDX-License-Identifier: MIT */
/* What went wrong, last, in this thread: errno, a sentence, and a status for exit(3).
 *
 * The law: one table says what each error of the wire is in errno and in statuses, the one of
 * docs/reference/errors.md.  It refuses to know how anything came about.
 */
#ifndef PAGSRV_FAULT_H
#define PAGSRV_FAULT_H
#include "json.h"

/* The statuses of docs/reference/errors.md that are ours to give. */
enum { STATUS_OTHER = 1, STATUS_USAGE = 2, STATUS_DENIED = 4, STATUS_NO_BROKER = 6,
       STATUS_NO_SESSION = 7, STATUS_QUOTA = 8 };

/* Sets errno, sentence and status; answers -1.  %m in FORMAT is errno as it was before. */
__attribute__((format(printf, 3, 4)))
int fault(int error, int status, const char *format, ...);

/* The same from an error reply: its `error` and its `parameters`. */
int fault_told(struct json error, struct json parameters);
#endif
