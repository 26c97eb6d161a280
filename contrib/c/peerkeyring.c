/* SPDX-License-Identifier: MIT */
/* Tell everybody who connects to a socket which session keyring they were in.
 *
 *	cc -o peerkeyring peerkeyring.c && ./peerkeyring /run/example/socket
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "peerkeyring.h"

static const char *judge(const struct peerkeyring *is)
{
	if (is->magic != PEERKEYRING_MAGIC || is->version != 1)
		return "something else answers";
	if (!is->serial)
		return "no session keyring";
	if (is->flags & PEERKEYRING_OVER || is->state != 1)
		return "the session is over";
	if (is->expiry && is->expiry <= time(NULL))
		return "the session has expired";
	if (is->flags & PEERKEYRING_UID_RING)
		return "no session of its own";
	if (is->key_uid != is->euid)
		return "the session is another user's";
	return NULL;
}

static void answer(int peer)
{
	struct peerkeyring is;
	socklen_t size = sizeof is;
	const char *why;

	if (getsockopt(peer, SOL_PEERKEYRING, SO_PEERKEYRING, &is, &size))
		dprintf(peer, "not known: %m\n");
	else if ((why = judge(&is)))
		dprintf(peer, "none: %s\n", why);
	else
		dprintf(peer, "session:%d of uid %u\n", is.serial, is.euid);
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (argc != 2 || strlen(argv[1]) >= sizeof at.sun_path)
		return 2;
	strcpy(at.sun_path, argv[1]);
	if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 8)) {
		perror(argv[1]);
		return 1;
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		int peer = accept(listener, NULL, NULL);

		if (peer < 0)
			return 1;
		answer(peer);
		close(peer);
	}
}
