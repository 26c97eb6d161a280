/* SPDX-License-Identifier: MIT */
/* client SOCKET SERVICE@HOST: a token, on stdout; it knows of no board, session or ticket. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	char line[1 << 16] = "no answer\n";
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (argc != 3 || snprintf(to.sun_path, sizeof to.sun_path, "%s", argv[1]) >= (int)sizeof to.sun_path)
		return fputs("usage: client SOCKET SERVICE@HOST\n", stderr), 2;
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || dprintf(fd, "%s\n", argv[2]) < 0)
		return perror(argv[1]), 1;
	FILE *in = fdopen(fd, "r");
	if (!in || !fgets(line, sizeof line, in) || strncmp(line, "OK ", 3))
		return fputs(line, stderr), 1;
	return fputs(line + 3, stdout) < 0;
}
