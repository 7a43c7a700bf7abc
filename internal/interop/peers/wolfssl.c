/* A DTLS 1.2 peer on wolfSSL:
 *
 *   wolfssl client|server PORT SUITES psk IDENTITY KEY
 *   wolfssl client|server PORT SUITES certificate DIRECTORY NAME
 *
 * SUITES are IANA names with colons between. A client sends each line of its input and prints what comes back; a server sends back
 * what comes. NAME is the server's. "wolfssl version" prints that. */
#include "socket.h"

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

static const char *psk_identity, *psk_key;

static unsigned int client_key(WOLFSSL *ssl, const char *hint, char *identity, unsigned int most, unsigned char *key, unsigned int size) {
	(void)ssl, (void)hint, (void)size;
	snprintf(identity, most, "%s", psk_identity);
	memcpy(key, psk_key, strlen(psk_key));
	return (unsigned int)strlen(psk_key);
}

static unsigned int server_key(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int size) {
	(void)ssl, (void)size;
	if (strcmp(identity, psk_identity) != 0)
		return 0;
	memcpy(key, psk_key, strlen(psk_key));
	return (unsigned int)strlen(psk_key);
}

static void check(const char *what, int code) {
	if (code != WOLFSSL_SUCCESS)
		fail(what, code);
}

static void set_certificates(WOLFSSL_CTX *ctx, const char *dir, int server) {
	check("CA", wolfSSL_CTX_load_verify_locations(ctx, file(dir, "ca.crt"), NULL));
	check("certificate", wolfSSL_CTX_use_certificate_file(ctx, file(dir, server ? "server.crt" : "client.crt"), SSL_FILETYPE_PEM));
	check("key", wolfSSL_CTX_use_PrivateKey_file(ctx, file(dir, server ? "server.key" : "client.key"), SSL_FILETYPE_PEM));
	wolfSSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

/* attach gives a session its socket. A server's is connected to whoever writes first, for wolfSSL's cookie asks the socket. */
static void attach(WOLFSSL *ssl, int server, const char *port) {
	int s = udp(server, port);
	struct sockaddr_in peer = loopback(port);
	socklen_t length = sizeof peer;
	if (server) {
		char first;
		recvfrom(s, &first, 1, MSG_PEEK, (struct sockaddr *)&peer, &length);
	}
	if (connect(s, (struct sockaddr *)&peer, sizeof peer) != 0)
		fail("connect", s);
	check("peer", wolfSSL_dtls_set_peer(ssl, &peer, sizeof peer));
	check("socket", wolfSSL_set_fd(ssl, s));
}

int main(int argc, char **argv) {
	char b[2048];
	if (argc == 2)
		return puts(wolfSSL_lib_version()) < 0;
	if (argc != 7)
		fail("arguments", argc);
	int server = strcmp(argv[1], "server") == 0, psk = strcmp(argv[4], "psk") == 0;
	wolfSSL_Init();
	WOLFSSL_CTX *ctx = wolfSSL_CTX_new(server ? wolfDTLSv1_2_server_method() : wolfDTLSv1_2_client_method());
	check("suites that this build lacks", wolfSSL_CTX_set_cipher_list(ctx, argv[3]));
	psk_identity = argv[5], psk_key = argv[6];
	if (psk && server)
		wolfSSL_CTX_set_psk_server_callback(ctx, server_key);
	else if (psk)
		wolfSSL_CTX_set_psk_client_callback(ctx, client_key);
	else
		set_certificates(ctx, argv[5], server);
	WOLFSSL *ssl = wolfSSL_new(ctx);
	if (ssl == NULL)
		fail("session", 0);
	if (!psk && !server) {
		check("name", wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, argv[6], (unsigned short)strlen(argv[6])));
		check("name", wolfSSL_check_domain_name(ssl, argv[6]));
	}
	attach(ssl, server, argv[2]);
	int code = server ? wolfSSL_accept(ssl) : wolfSSL_connect(ssl);
	if (code != WOLFSSL_SUCCESS)
		fail("handshake", wolfSSL_get_error(ssl, code));
	while (server || line(b, sizeof b)) {
		int n = (int)strlen(b);
		if (!server && wolfSSL_write(ssl, b, n) != n)
			fail("write", n);
		n = wolfSSL_read(ssl, b, sizeof b);
		if (n <= 0)
			fail("read", wolfSSL_get_error(ssl, n));
		if (server && wolfSSL_write(ssl, b, n) != n)
			fail("write", n);
		if (!server)
			heard(b, n);
	}
	return 0;
}
