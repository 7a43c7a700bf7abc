package acme

import "fmt"

// configuration is ACME's acme.ini: an IN-CSE in memory on a port of 127.0.0.1, with nothing but its HTTP binding. The
// section [basic.config] is what ACME's own first-start dialogue writes.
func configuration(dir string, port int) string {
	return fmt.Sprintf(`[basic.config]
cseType=IN
cseID=id-in
cseName=cse-in
adminID=CAdmin
serviceProviderID=//acme.example.com
dataDirectory=%[1]s
cseHost=127.0.0.1
httpPort=%[2]d
networkInterface=127.0.0.1
databaseType=memory
logLevel=warn
consoleTheme=dark
secret=test
registrarCseHost=
registrarCsePort=
registrarCseID=
registrarCseName=

[textui]
startWithTUI=false

[logging]
enableFileLogging=true
enableScreenLogging=false
`, dir, port)
}

// proxyConfiguration is HAProxy's: TLS with a mandatory client certificate on descriptor 3, bytes to ACME's port. "verify
// required" ends the handshake with an alert, before a byte of a request was read.
func proxyConfiguration(pair, clientCA string, port int) string {
	return fmt.Sprintf(`global
    maxconn 256

defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s

frontend mutual_tls
    bind fd@3 ssl crt %q ca-file %q verify required ssl-min-ver TLSv1.2 alpn http/1.1
    default_backend cse

backend cse
    server acme 127.0.0.1:%d
`, pair, clientCA, port)
}
