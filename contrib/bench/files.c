/* SPDX-License-Identifier: MIT */
/* Files by their paths: files open|stat|write PATH [-t SECONDS].
 *
 * The law: it knows only paths, so that it does the same before a door and behind it.
 */
#include "bench.h"
#include <fcntl.h>
#include <sys/stat.h>

static void *begin(const struct options *options)
{
    return (void *)options->path;
}

static void open_it(void *path, unsigned number)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)number;
    if (fd < 0)
        die("cannot open %s", (char *)path);
    close(fd);
}

static void stat_it(void *path, unsigned number)
{
    struct stat found;
    (void)number;
    if (stat(path, &found) < 0)
        die("cannot stat %s", (char *)path);
}

static void *begin_to_write(const struct options *options)
{
    static int fd;
    fd = open(options->path, O_WRONLY | O_CLOEXEC);
    return &fd;
}

static void write_it(void *fd, unsigned number)
{
    (void)number;
    if (write(*(int *)fd, "12\n", 3) != 3)
        die("cannot write");
}

int main(int argc, char **argv)
{
    static const struct client opens = {begin, open_it}, stats = {begin, stat_it},
                               writes = {begin_to_write, write_it};
    struct options options;
    if (argc < 3)
        return 2;
    options = parse(argc, argv);
    run(strcmp(argv[1], "open") == 0 ? &opens : strcmp(argv[1], "stat") == 0 ? &stats : &writes,
        &options, 0);
    return 0;
}
