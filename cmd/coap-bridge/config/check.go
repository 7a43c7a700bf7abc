package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"coapbridge/bridge/cse"
	"coapbridge/bridge/devices/privatefile"
	"coapbridge/cmd/coap-bridge/logging"
	"coapbridge/cmd/coap-bridge/secret"
)

// check finds what is wrong with the values and with the files that they name.
func (l *loader) check() {
	c := &l.cfg
	seen := map[string]bool{}
	for i, address := range c.Listen {
		field := fmt.Sprintf("listen[%d]", i)
		l.checkAddress(field, address)
		if seen[address] {
			l.report(field, fmt.Sprintf("%q stands there twice", address), "remove one")
		}
		seen[address] = true
	}
	for i, host := range c.Hosts {
		if !hostName(host) {
			l.report(fmt.Sprintf("hosts[%d]", i), fmt.Sprintf("%q is no host name", host), "write a DNS name or an IP address, without a port")
		}
	}
	switch {
	case !c.Certificate.IsZero():
		l.checkKeyPair("certificate", c.Certificate, x509.ExtKeyUsageServerAuth)
	case c.ClientCA != "":
		l.report("certificate", "is missing, and clientCA is there", "name the bridge's own chain and key, or remove clientCA")
	}
	if c.ClientCA != "" {
		l.checkCAs("clientCA", c.ClientCA)
	}
	l.checkCSEs()
	l.checkDownlink()
	l.checkLimits()
	l.checkAdmin()
	l.checkLog()
	if c.ShutdownGrace < 0 || c.ShutdownGrace > time.Hour {
		l.report("shutdownGrace", c.ShutdownGrace.String()+" can't be", "write up to 1h, such as 20s")
	}
}

func (l *loader) checkAddress(field, address string) {
	host, port, err := net.SplitHostPort(address)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err == nil && portErr == nil && (host == "" || hostName(host)) && (n > 0 || port == "0") {
		return
	}
	l.report(field, fmt.Sprintf("%q is no address", address), `write host:port, such as "[::]:5684" or "192.0.2.1:5684"`)
}

// hostName accepts DNS names and IP addresses.
func hostName(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

func (l *loader) checkCSEs() {
	cses := l.cfg.CSEs
	if len(cses) == 0 {
		l.report("cses", "is missing", "name at least one CSE with name, url, ca, certificate, key, cseID and cseBase")
		return
	}
	names, variables := map[string]int{}, map[string]int{}
	var defaults []string
	for i := range cses {
		c, field := &cses[i], fmt.Sprintf("cses[%d]", i)
		first, again := variables[capitals(c.Name)]
		switch _, same := names[c.Name]; {
		case c.Name == "":
			l.report(field+".name", "is missing", "give each CSE a name of its own")
		case !plainName(c.Name):
			l.report(field+".name", fmt.Sprintf("%q is no name", c.Name), "use up to 64 letters, digits, dots, dashes and underscores")
		case same:
			l.report(field+".name", fmt.Sprintf("%q is the name of cses[%d] already", c.Name, names[c.Name]), "give each CSE a name of its own")
		case again:
			l.report(field+".name", fmt.Sprintf("%q can't be told from the name of cses[%d] in environment variables", c.Name, first), "choose another name")
		default:
			names[c.Name], variables[capitals(c.Name)] = i, i
		}
		if c.Default || l.doc.Failed(field+".default") {
			defaults = append(defaults, c.Name)
		}
		l.checkCSE(field, c)
	}
	switch {
	case len(defaults) == 0:
		l.report("cses", "has no default", "write default: true at the CSE of devices that name none")
	case len(defaults) > 1:
		l.report("cses", "has more than one default: "+strings.Join(defaults, ", "), "leave default: true at one of them")
	}
}

func (l *loader) checkCSE(field string, c *CSE) {
	l.checkURL(field+".url", c.URL)
	if c.CA == "" {
		l.report(field+".ca", "is missing", "name the PEM file of the CA that issued the CSE's certificate")
	} else {
		l.checkCAs(field+".ca", c.CA)
	}
	l.checkKeyPair(field, KeyPair{c.Certificate, c.Key}, x509.ExtKeyUsageClientAuth)
	for _, name := range slices.Sorted(maps.Keys(c.Clients)) {
		at := field + ".clients." + name
		if !plainName(name) {
			l.report(at, fmt.Sprintf("%q is no name", name), "use up to 64 letters, digits, dots, dashes and underscores")
		}
		l.checkKeyPair(at, KeyPair{c.Clients[name].Certificate, c.Clients[name].Key}, x509.ExtKeyUsageClientAuth)
	}
	if c.ServerName != "" && !hostName(c.ServerName) {
		l.report(field+".serverName", fmt.Sprintf("%q is no host name", c.ServerName), "write the DNS name in the CSE's certificate")
	}
	switch id, ok := strings.CutPrefix(c.CSEID, "/"); { // without both, one resource has spellings that can't be told to be one
	case c.CSEID == "":
		l.report(field+".cseID", "is missing", `write the CSE's CSE-ID in its SP-relative form, such as "/id-in" (TS-0001, 7.2)`)
	case !ok || !plainName(id):
		l.report(field+".cseID", fmt.Sprintf("%q is no CSE-ID", c.CSEID), `write it in its SP-relative form, such as "/id-in" (TS-0001, 7.2)`)
	}
	switch {
	case c.CSEBase == "":
		l.report(field+".cseBase", "is missing", "write the resource name of the CSE's CSEBase, such as cse-in")
	case !plainName(c.CSEBase):
		l.report(field+".cseBase", fmt.Sprintf("%q is no resource name", c.CSEBase), "write the CSEBase's name, such as cse-in")
	}
	if c.SP != "" && !hostName(c.SP) {
		l.report(field+".sp", fmt.Sprintf("%q is no service provider's name", c.SP), "write its FQDN, such as sp.example.org")
	}
	l.checkIdentity(field, c)
	for i, q := range c.Quirks {
		if !slices.ContainsFunc(cse.Quirks(), func(known cse.Quirk) bool { return known.Name == q }) {
			l.report(fmt.Sprintf("%s.quirks[%d]", field, i), fmt.Sprintf("%q is no quirk that is known", q), "write one of: "+quirkNames())
		}
	}
	if c.Timeout < 0 || c.Timeout > 10*time.Minute {
		l.report(field+".timeout", c.Timeout.String()+" can't be", "write up to 10m, such as 10s")
	}
	if c.MaxAnswer < 0 || c.MaxAnswer > maxLimit {
		l.report(field+".maxAnswer", fmt.Sprintf("%d bytes can't be", c.MaxAnswer), "write a number of bytes, such as 1048576")
	}
}

// checkIdentity checks who the bridge is for the CSE.
func (l *loader) checkIdentity(field string, c *CSE) {
	id, spRelative := strings.CutPrefix(c.BridgeID, "/")
	switch c.Identity {
	case "", IdentityShared, IdentityPerDevice:
		if c.BridgeID != "" {
			l.report(field+".bridgeID", "is of no use without identity: mnCSE", "remove it, or write identity: mnCSE")
		}
	case IdentityMNCSE:
		if !spRelative || !plainName(id) {
			l.report(field+".bridgeID", fmt.Sprintf("%q is no CSE-ID", c.BridgeID), `write the bridge's own in its SP-relative form, such as "/mn-1" (TS-0001, 7.2)`)
		}
	default:
		l.report(field+".identity", fmt.Sprintf("%q is none that is known", c.Identity), "write shared, mnCSE or perDevice")
	}
	if c.Identity == IdentityPerDevice && len(c.Clients) == 0 {
		l.report(field+".clients", "is missing with identity: perDevice", "name a certificate and key for each device")
	}
}

func quirkNames() string {
	var names []string
	for _, q := range cse.Quirks() {
		names = append(names, q.Name)
	}
	return strings.Join(names, ", ")
}

func (l *loader) checkURL(field, text string) {
	if text == "" {
		l.report(field, "is missing", "write the CSE's address, such as https://cse.example.org:8443")
		return
	}
	u, err := url.Parse(text)
	remedy := "write https://host:port, such as https://cse.example.org:8443"
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		l.report(field, "is no address of a CSE", remedy)
	case u.User != nil: // not shown: it may hold a password
		l.report(field, "has a user name or password in it", "remove it: the bridge is known by its certificate")
	case u.Scheme != "https": // R4: nothing leaves in clear
		l.report(field, fmt.Sprintf("%q would not be encrypted and authenticated", u.Scheme+"://"+u.Host), remedy)
	case u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		l.report(field, "has a path or query, which the requests bring themselves", remedy)
	}
}

// plainName accepts names that are safe in paths, logs and variables.
func plainName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == "" &&
		strings.Trim(s, ".") != ""
}

func (l *loader) checkLimits() {
	v := reflect.ValueOf(l.cfg.Limits)
	for i := range v.NumField() {
		field := "limits." + v.Type().Field(i).Tag.Get("yaml")
		n := v.Field(i).Int()
		if d, ok := v.Field(i).Interface().(time.Duration); ok {
			if d < 0 || d > 10*365*24*time.Hour {
				l.report(field, d.String()+" can't be", "write a duration above zero, or leave it out for the default")
			}
		} else if n < 0 || n > maxLimit {
			l.report(field, fmt.Sprintf("%d can't be", n), fmt.Sprintf("write a number from 1 to %d, or leave it out for the default", maxLimit))
		}
		if n == 0 && l.doc.Has(field) {
			l.report(field, "0 can't be: no limit can be switched off", "leave it out for the default")
		}
	}
	if mtu := l.cfg.Limits.MTU; mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		l.report("limits.mtu", fmt.Sprintf("%d can't be", mtu), fmt.Sprintf("write %d to %d", minMTU, maxMTU))
	}
	if l.cfg.Limits.AckDelay > maxAckWait { // RFC 7252, Section 5.2.2
		l.report("limits.ackDelay", l.cfg.Limits.AckDelay.String()+" is so long that devices repeat their requests", "write up to 1.9s")
	}
}

func (l *loader) checkAdmin() {
	a := &l.cfg.Admin
	switch {
	case a.Listen != "" && a.Socket != "":
		l.report("admin", "has both socket and listen", "remove one of them")
		return
	case a.Socket != "":
		if err := privatefile.CheckFolder(filepath.Dir(a.Socket)); err != nil && l.doc.Has("admin.socket") {
			l.reportFile("admin.socket", *asProblem(a.Socket, err))
		}
	case a.Listen != "":
		l.checkAddress("admin.listen", a.Listen)
		if a.TokenFile == "" {
			l.report("admin.tokenFile", "is missing: over TCP the listener needs a token", "name a file of mode 0600 with 16 random bytes or more, or use socket")
		}
		host, _, _ := net.SplitHostPort(a.Listen)
		if ip, err := netip.ParseAddr(host); (err != nil || !ip.IsLoopback()) && host != "localhost" && a.Certificate.IsZero() {
			l.report("admin.listen", fmt.Sprintf("%q is not loopback, where the token would be seen", a.Listen), "add certificate: with chain and key, or listen on 127.0.0.1")
		}
	}
	if a.TokenFile != "" {
		l.checkToken("admin.tokenFile", a.TokenFile)
	}
	if !a.Certificate.IsZero() {
		l.checkKeyPair("admin.certificate", a.Certificate, x509.ExtKeyUsageServerAuth)
	}
	for i, host := range a.Hosts {
		if !hostName(host) {
			l.report(fmt.Sprintf("admin.hosts[%d]", i), fmt.Sprintf("%q is no host name", host), "write a DNS name or an IP address, without a port")
		}
	}
}

func (l *loader) checkToken(field, file string) {
	data, err := secret.ReadFile(file)
	var e *privatefile.Error
	switch {
	case errors.As(err, &e):
		l.reportFile(field, *asProblem(file, err))
	case err != nil:
		l.report(field, err.Error(), "put 16 random bytes or more into it")
	case data.Len() < minToken:
		l.report(field, fmt.Sprintf("%s holds %d bytes, which can be guessed", file, data.Len()), "use 16 random bytes or more, such as openssl rand -hex 16 makes")
	}
}

func (l *loader) checkLog() {
	g := l.cfg.Log
	if _, err := logging.ParseLevel(g.Level); err != nil {
		l.report("log.level", fmt.Sprintf("%q is no level", g.Level), "write debug, info, warn or error")
	}
	if _, err := logging.ParseFormat(g.Format); err != nil {
		l.report("log.format", fmt.Sprintf("%q is no format", g.Format), "write auto, text or json")
	}
	if _, err := privatefile.Read(g.KeyFile, maxPEM); l.doc.Has("log.keyFile") || l.overrides["log.keyFile"] != "" || !missing(err) {
		if err != nil {
			if missing(err) && privatefile.CheckFolder(filepath.Dir(g.KeyFile)) == nil {
				return // it is made at the start
			}
			l.reportFile("log.keyFile", *asProblem(g.KeyFile, err))
			return
		}
		l.checkToken("log.keyFile", g.KeyFile)
	}
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
