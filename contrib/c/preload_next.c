/* SPDX-License-Identifier: MIT */
/* What libc would have done: the next definition of a function, after ours.
 *
 * The law: looked up once, without a lock; two threads that do it at once find the same.  It
 * refuses to know what is called.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "preload.h"

void *door_next(void **to, const char *name)
{
    void *found = __atomic_load_n(to, __ATOMIC_RELAXED);

    if (found)
        return found;
    found = dlsym(RTLD_NEXT, name);
    /* A libc without it has no caller of it either: the name was bound to us. */
    if (!found)
        abort();
    __atomic_store_n(to, found, __ATOMIC_RELAXED);
    return found;
}
