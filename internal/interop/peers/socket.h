/* What the peers in C share: their UDP socket, and lines of standard input. Every call ends the program when it fails, for the test
 * reads what it says on standard error. */
#ifndef SOCKET_H
#define SOCKET_H

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what, long code) {
	fprintf(stderr, "%s: %ld\n", what, code);
	exit(1);
}

static struct sockaddr_in loopback(const char *port) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return at;
}

/* udp returns a socket of a client's, or one that is bound to the server's port. */
static int udp(int server, const char *port) {
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in at = loopback(server ? port : "0");
	if (s < 0 || bind(s, (struct sockaddr *)&at, sizeof at) != 0)
		fail("bind", s);
	return s;
}

/* readable waits for a datagram: ms milliseconds, or for ever when that is 0. */
static int readable(int s, unsigned ms) {
	struct pollfd p = {.fd = s, .events = POLLIN};
	return poll(&p, 1, ms == 0 ? -1 : (int)ms) > 0;
}

/* line reads one line that is to be sent; 0 at the end. */
static int line(char *b, int size) {
	return fgets(b, size, stdin) != NULL;
}

/* heard prints what came. */
static void heard(const void *b, int n) {
	fwrite(b, 1, (size_t)n, stdout);
	fflush(stdout);
}

static const char *file(const char *dir, const char *name) {
	static char path[4][512];
	static int next;
	char *p = path[next++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", dir, name);
	return p;
}

#endif
