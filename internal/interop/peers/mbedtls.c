/* A DTLS 1.2 peer on Mbed TLS 2.28 or 3:
 *
 *   mbedtls client|server PORT SUITES CID psk IDENTITY KEY
 *   mbedtls client|server PORT SUITES CID certificate DIRECTORY NAME
 *
 * SUITES are numbers in hex with commas between, CID the length of its Connection ID, 0 for none. A client sends each line of its
 * input and prints what comes back; a server sends back what comes. NAME is the server's. "mbedtls version" prints that.
 *
 * The socket is not connected, so that a client may change its address. */
#include "socket.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/debug.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/ssl_cookie.h>
#include <mbedtls/timing.h>
#include <mbedtls/version.h>

struct net {
	int socket;
	struct sockaddr_in peer; /* of the last datagram */
};

static int net_send(void *ctx, const unsigned char *b, size_t n) {
	struct net *net = ctx;
	return (int)sendto(net->socket, b, n, 0, (struct sockaddr *)&net->peer, sizeof net->peer);
}

static int net_receive(void *ctx, unsigned char *b, size_t size, uint32_t ms) {
	struct net *net = ctx;
	socklen_t length = sizeof net->peer;
	if (!readable(net->socket, ms))
		return MBEDTLS_ERR_SSL_TIMEOUT;
	return (int)recvfrom(net->socket, b, size, 0, (struct sockaddr *)&net->peer, &length);
}

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_source;
static mbedtls_ssl_config conf;
static mbedtls_ssl_context ssl;
static mbedtls_timing_delay_context timer;
static mbedtls_ssl_cookie_ctx cookies;
static mbedtls_x509_crt ca, own;
static mbedtls_pk_context key;

static void check(const char *what, int code) {
	if (code != 0)
		fail(what, code);
}

/* set_suites makes the list that the configuration keeps a pointer to. */
static void set_suites(char *names) {
	static int suites[32];
	int n = 0;
	for (char *name = strtok(names, ","); name != NULL && n < 31; name = strtok(NULL, ",")) {
		suites[n] = (int)strtol(name, NULL, 16);
		if (mbedtls_ssl_ciphersuite_from_id(suites[n++]) == NULL)
			fail("this build lacks suite", suites[n - 1]);
	}
	mbedtls_ssl_conf_ciphersuites(&conf, suites);
}

static void set_certificates(const char *dir, int server) {
	check("CA", mbedtls_x509_crt_parse_file(&ca, file(dir, "ca.crt")));
	check("certificate", mbedtls_x509_crt_parse_file(&own, file(dir, server ? "server.crt" : "client.crt")));
#if MBEDTLS_VERSION_MAJOR >= 3
	check("key", mbedtls_pk_parse_keyfile(&key, file(dir, server ? "server.key" : "client.key"), NULL, mbedtls_ctr_drbg_random, &random_source));
#else
	check("key", mbedtls_pk_parse_keyfile(&key, file(dir, server ? "server.key" : "client.key"), NULL));
#endif
	mbedtls_ssl_conf_authmode(&conf, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_ca_chain(&conf, &ca, NULL);
	check("own certificate", mbedtls_ssl_conf_own_cert(&conf, &own, &key));
}

/* set_cid asks for a Connection ID of that length on what we receive. */
static void set_cid(size_t length) {
	if (length == 0)
		return;
#ifdef MBEDTLS_SSL_DTLS_CONNECTION_ID
	static const unsigned char id[] = "interoperable";
	check("CID", mbedtls_ssl_conf_cid(&conf, length, MBEDTLS_SSL_UNEXPECTED_CID_IGNORE));
	check("CID", mbedtls_ssl_set_cid(&ssl, MBEDTLS_SSL_CID_ENABLED, id, length));
#else
	fail("this build has no Connection ID of length", (long)length);
#endif
}

static void handshake(struct net *net, int server) {
	int code;
	do {
		if (server) { /* the cookie is bound to the address, which is known when the first datagram is there */
			socklen_t length = sizeof net->peer;
			char first;
			readable(net->socket, 0);
			recvfrom(net->socket, &first, 1, MSG_PEEK, (struct sockaddr *)&net->peer, &length);
			check("reset", mbedtls_ssl_session_reset(&ssl));
			check("address", mbedtls_ssl_set_client_transport_id(&ssl, (unsigned char *)&net->peer, sizeof net->peer));
		}
		do
			code = mbedtls_ssl_handshake(&ssl);
		while (code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE);
	} while (server && code == MBEDTLS_ERR_SSL_HELLO_VERIFY_REQUIRED);
	check("handshake", code);
}

static int receive(unsigned char *b, size_t size) {
	int n;
	do
		n = mbedtls_ssl_read(&ssl, b, size);
	while (n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_TIMEOUT);
	if (n <= 0)
		fail("read", n);
	return n;
}

static void forward(const unsigned char *b, int n) {
	int sent = mbedtls_ssl_write(&ssl, b, (size_t)n);
	if (sent != n)
		fail("write", sent);
}

int main(int argc, char **argv) {
	unsigned char b[2048];
	if (argc == 2) {
		mbedtls_version_get_string((char *)b);
		return puts((char *)b) < 0;
	}
	if (argc != 8)
		fail("arguments", argc);
	int server = strcmp(argv[1], "server") == 0;
	struct net net = {udp(server, argv[2]), loopback(argv[2])};
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random_source);
	mbedtls_ssl_config_init(&conf);
	mbedtls_ssl_init(&ssl);
	mbedtls_ssl_cookie_init(&cookies);
	mbedtls_x509_crt_init(&ca);
	mbedtls_x509_crt_init(&own);
	mbedtls_pk_init(&key);
	check("random", mbedtls_ctr_drbg_seed(&random_source, mbedtls_entropy_func, &entropy, NULL, 0));
	check("defaults", mbedtls_ssl_config_defaults(&conf, server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
		MBEDTLS_SSL_TRANSPORT_DATAGRAM, MBEDTLS_SSL_PRESET_DEFAULT));
	mbedtls_ssl_conf_rng(&conf, mbedtls_ctr_drbg_random, &random_source);
	set_suites(argv[3]);
	if (strcmp(argv[5], "psk") == 0)
		check("PSK", mbedtls_ssl_conf_psk(&conf, (unsigned char *)argv[7], strlen(argv[7]), (unsigned char *)argv[6], strlen(argv[6])));
	else
		set_certificates(argv[6], server);
	if (server) {
		check("cookies", mbedtls_ssl_cookie_setup(&cookies, mbedtls_ctr_drbg_random, &random_source));
		mbedtls_ssl_conf_dtls_cookies(&conf, mbedtls_ssl_cookie_write, mbedtls_ssl_cookie_check, &cookies);
	}
	check("setup", mbedtls_ssl_setup(&ssl, &conf));
	if (!server && strcmp(argv[5], "psk") != 0)
		check("name", mbedtls_ssl_set_hostname(&ssl, argv[7]));
	mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
	mbedtls_ssl_set_bio(&ssl, &net, net_send, NULL, net_receive);
	set_cid((size_t)atoi(argv[4]));
	handshake(&net, server);
	while (server || line((char *)b, sizeof b)) {
		if (!server)
			forward(b, (int)strlen((char *)b));
		int n = receive(b, sizeof b);
		if (server)
			forward(b, n);
		else
			heard(b, n);
	}
	return 0;
}
