/* SPDX-License-Identifier: MIT */
/* lister PATH: forks while a thread reads another directory, with that of PATH open; each child
 * reads one, too.
 *
 * The law: the status is 0, or 1 if a child did not get to its end.  It refuses to know what is
 * listed.
 */
#include <dirent.h>
#include <err.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 3000
#define SECONDS 20      /* a deadline: SIGALRM ends a child that hangs */

static void *reads(void *with)
{
    DIR *dir = with;

    for (;;) {
        rewinddir(dir);
        while (readdir(dir))
            continue;
    }
    return NULL;
}

int main(int count, char **words)
{
    DIR *ours = count == 2 ? opendir(words[1]) : NULL, *other = opendir("/etc");
    pthread_t thread;
    int status;

    if (!ours || !other || pthread_create(&thread, NULL, reads, other) != 0)
        err(1, "which directory?");
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();

        if (child == 0) {
            alarm(SECONDS);
            _exit(!readdir(opendir("/")));
        }
        if (waitpid(child, &status, 0) != child || status)
            return 1;
    }
    return 0;
}
