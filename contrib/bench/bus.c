/* SPDX-License-Identifier: MIT */
/* A D-Bus method that returns a descriptor, and its caller, both on sd-bus.
 *
 *     bus serve ADDRESS
 *     bus open ADDRESS [options of bench.h]
 *
 * The law: one name on the bus, one method Open(s) -> h at one path, as
 * fast.py has it, so that each side can be measured against either other.
 */
#include "bench.h"
#include <fcntl.h>
#include <systemd/sd-bus.h>

#define NAME "org.pagsrv.Bench"
#define PATH "/org/pagsrv/Bench"

static int answer(sd_bus_message *message, void *opaque, sd_bus_error *error)
{
    const char *name;
    (void)error;
    int status = sd_bus_message_read(message, "s", &name);
    return status < 0 ? status : sd_bus_reply_method_return(message, "h", *(int *)opaque);
}

static const sd_bus_vtable table[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Open", "s", "h", answer, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static sd_bus *join(const char *address)
{
    sd_bus *bus = NULL;
    int status = sd_bus_new(&bus);
    if (status >= 0)
        status = sd_bus_set_address(bus, address);
    if (status >= 0)
        status = sd_bus_set_bus_client(bus, 1);
    if (status >= 0)
        status = sd_bus_negotiate_fds(bus, 1);
    if (status >= 0)
        status = sd_bus_start(bus);
    errno = -status;
    if (status < 0)
        die("no bus at %s", address);
    return bus;
}

static int serve(const char *address)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    sd_bus *bus = join(address);
    int status = sd_bus_add_object_vtable(bus, NULL, PATH, NAME, table, &fd);
    if (status >= 0)
        status = sd_bus_request_name(bus, NAME, 0);
    if (status >= 0)
        dprintf(1, "ready\n");
    while (status >= 0) {
        status = sd_bus_process(bus, NULL);
        if (status == 0)
            status = sd_bus_wait(bus, UINT64_MAX);
    }
    return 1;
}

static void *start(const struct options *options)
{
    return join(options->path);
}

static void open_once(void *bus, unsigned number)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    int fd;
    (void)number;
    int status = sd_bus_call_method(bus, NAME, PATH, NAME, "Open", &error, &reply, "s",
                                    "bench-entry-of-the-board-000042");
    if (status < 0 || sd_bus_message_read(reply, "h", &fd) < 0)
        die("D-Bus answered %s", error.message ? error.message : "nonsense");
    /* the message owns its descriptor; a user keeps a duplicate */
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    sd_bus_message_unref(reply);
    close(fd);
}

int main(int argc, char **argv)
{
    const struct client client = {start, open_once};
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (argc > 2 && !strcmp(argv[1], "serve"))
        return serve(argv[2]);
    if (argc > 2 && !strcmp(argv[1], "open")) {
        struct options options = parse(argc, argv);
        run(&client, &options, SOCK_STREAM);
        return 0;
    }
    fprintf(stderr, "usage: bus serve|open ADDRESS [OPTION]...\n");
    return 2;
}
