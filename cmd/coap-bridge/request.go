package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"coapbridge/bridge/devices/privatefile"
	"coapbridge/bridge/onem2m"
	"coapbridge/cmd/coap-bridge/request"
	"coapbridge/cmd/coap-bridge/secret"
)

// exitNoAnswer is the exit code of a request that nobody answered.
const exitNoAnswer = 3

const requestTimeout = 60 * time.Second // above MAX_TRANSMIT_SPAN (45 s, RFC 7252, Section 4.8.2): all repeats get their chance

// maxRequestData bounds --data-file: the largest body that blocks of 1 KiB can carry by far exceeds what a bridge takes.
const maxRequestData = 1 << 20

// requestFlags are the flags of the request command, as they were given.
type requestFlags struct {
	identity, key, keyFile              string
	certFile, certKeyFile, caFile, name string

	plain, legacy, non       bool
	primitive                onem2m.Request
	resourceType, eventClass uint32
	responseType             uint8
	rcn, drt                 string
	query, options           []string
	data, dataFile           string
	contentFormat, accept    string
	timeout                  time.Duration
	blockSize                int
	asJSON                   bool
	output                   string
}

func newRequestCommand() *cobra.Command {
	var f requestFlags
	cmd := &cobra.Command{
		Use:   "request OPERATION coaps://HOST[:PORT]/PATH[?QUERY]",
		Short: "Send one oneM2M request over CoAP and DTLS, and show the answer",
		Long:  requestLong,
		Example: `  # register an AE, with a key from a file
  coap-bridge request create coaps://localhost/cse-in --psk-identity sensor1 --psk-file sensor1.key \
      --from Csensor1 --ty 2 --data '{"m2m:ae":{"rn":"sensor1","api":"Nexample","rr":false,"srv":["3"]}}'

  # read it back with a certificate, as JSON for a script
  coap-bridge request retrieve coaps://localhost/cse-in/sensor1 --from Csensor1 \
      --cert device.crt --key device.key --ca ca.crt --json

  # discover all containers below the CSEBase
  coap-bridge request retrieve coaps://localhost/cse-in -u sensor1 -k KEY --from Csensor1 -q fu=1 -q ty=3

  # what a plain CoAP device would send
  coap-bridge request post coaps://localhost/room/temperature -u plain1 -k KEY --plain -t text -e 21.5`,
		Args:      args(cobra.ExactArgs(2)),
		ValidArgs: []string{"create", "retrieve", "update", "delete", "notify", "post", "get", "put"},
		RunE: func(cmd *cobra.Command, given []string) error {
			job, err := f.job(given, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), job)
		},
	}
	f.register(cmd)
	return cmd
}

const requestLong = `Send one oneM2M request (TS-0008) over CoAP and DTLS 1.2, and show the answer.

OPERATION is create, retrieve, update, delete or notify; get, put and delete stand for the operations of those methods,
post for create with --ty and for notify without it. The path is the resource: /cse-in/ae is CSE-relative,
/~/id-in/cse-in/ae SP-relative and /_/sp.example/id-in/cse-in/ae absolute. The port is 5684 unless the URI says
otherwise. Where a name has several addresses, IPv6 and IPv4, all of them are tried.

The client and the server authenticate each other; there is no way around it:
  pre-shared key   --psk-identity with --psk-file, a file of mode 0600 whose line is the key: its characters, or hex:,
                   base64: or text: and the value, as in the devices file. "-" reads it from standard input. For a first
                   try, -u and -k work as coap-client's do, but a key on the command line is visible to every user of the
                   machine in the process list, and stays in the shell's history.
  certificate      --cert, --key (mode 0600) and --ca. The server's certificate must come from that CA, be for a server,
                   and name the URI's host exactly (subjectAltName), or the one that --server-name gives.

A random Request Identifier and release version 3 are sent unless --rqi and --rvi say otherwise. --query (-q) sets any
filter criterion or attribute condition, and -O any CoAP option by its number, as coap-client does. --plain leaves all
oneM2M options out, which is what a plain CoAP device sends.

The answer is shown with its ResponseStatusCode and content; JSON is indented. --json prints one object instead, with the
members code, rsc, rscName, rqi, rvi, created, etag (hex), contentFormat, mediaType, content (JSON, or a string for other
text) or contentBase64, and elapsed (seconds, without the handshake). --output writes the content as it came.

Exit codes: 0 the request was taken (RSC 1xxx or 2xxx; without RSC, code 2.xx); 1 it was refused, or the answer can't be
trusted; 2 the command line is wrong; 3 no session or no answer: the message says what to check.`

func (f *requestFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.identity, "psk-identity", "u", "", "identity of the pre-shared key")
	fs.StringVar(&f.keyFile, "psk-file", "", `file (mode 0600) with the pre-shared key; "-" is standard input`)
	fs.StringVarP(&f.key, "psk-key", "k", "", "pre-shared key itself; VISIBLE in the process list, prefer --psk-file")
	fs.StringVarP(&f.certFile, "cert", "c", "", "certificate chain of this client (PEM, leaf first)")
	fs.StringVarP(&f.certKeyFile, "key", "j", "", "private key of the certificate (PEM, mode 0600)")
	fs.StringVarP(&f.caFile, "ca", "C", "", "CAs that may have issued the server's certificate (PEM)")
	fs.StringVar(&f.name, "server-name", "", "name in the server's certificate, when it is not the URI's host")

	p := &f.primitive
	fs.StringVar(&p.From, "from", "", "Originator (fr), an AE-ID or CSE-ID")
	fs.Uint32Var(&f.resourceType, "ty", 0, "Resource Type of a create: 1 ACP, 2 AE, 3 container, 4 contentInstance, 9 group, 23 subscription")
	fs.StringVar(&p.RequestID, "rqi", "", "Request Identifier (default: random)")
	fs.StringVar(&p.ReleaseVersion, "rvi", "3", "Release Version Indicator: 2a, 3, 4 or 5")
	fs.StringArrayVarP(&f.query, "query", "q", nil, "one KEY=VALUE of the query (filter criteria, attributes); may come several times")
	fs.StringArrayVar(&f.query, "filter", nil, "the same as --query")
	fs.StringVar(&f.rcn, "rcn", "", "Result Content, 0 to 12")
	fs.StringVar(&f.drt, "drt", "", "Desired Identifier Result Type: 1 structured, 2 unstructured")
	fs.Uint8Var(&f.responseType, "rt", 0, "Response Type: 1 non-blocking synchronous, 2 asynchronous, 3 blocking, 4 flexible")
	fs.StringArrayVar(&p.NotificationURIs, "rtu", nil, "notificationURI of the Response Type; may come several times")
	fs.StringVar(&p.OriginatingTimestamp, "ot", "", "Originating Timestamp, such as 20261231T235959")
	fs.StringVar(&p.RequestExpiration, "rqet", "", "Request Expiration Timestamp, or milliseconds")
	fs.StringVar(&p.ResultExpiration, "rset", "", "Result Expiration Timestamp, or milliseconds")
	fs.StringVar(&p.OperationExecutionTime, "oet", "", "Operation Execution Time, or milliseconds")
	fs.Uint32Var(&f.eventClass, "ec", 0, "Event Category: 2 immediate, 3 best effort, 4 latest, or 100 to 999")
	fs.StringVar(&p.GroupRequestID, "gid", "", "Group Request Identifier")
	fs.StringVar(&p.VendorInformation, "vsi", "", "Vendor Information")
	fs.StringArrayVarP(&f.options, "option", "O", nil, "any CoAP option as NUM,TEXT or NUM,0xHEX; may come several times")
	fs.BoolVar(&f.plain, "plain", false, "send no oneM2M option: a plain CoAP request")
	fs.BoolVar(&f.legacy, "legacy-options", false, "use the oneM2M option numbers from before TS-0008 V3.7.0")

	fs.StringVarP(&f.data, "data", "e", "", "content to send")
	fs.StringVarP(&f.dataFile, "data-file", "f", "", `file with the content to send; "-" is standard input`)
	fs.StringVarP(&f.contentFormat, "content-format", "t", "", "what the content is: a number, a media type, or text, json, cbor, xml, binary\n(default for oneM2M: JSON)")
	fs.StringVarP(&f.accept, "accept", "A", "", "what the answer should be: as --content-format")
	fs.BoolVarP(&f.non, "non", "N", false, "send a non-confirmable message")
	fs.IntVarP(&f.blockSize, "block-size", "b", 0, "largest block in bytes: 16, 32, ... 1024 (default 1024)")
	fs.DurationVarP(&f.timeout, "timeout", "B", requestTimeout, "how long name, handshake and answer may take together")
	fs.BoolVar(&f.asJSON, "json", false, "print the answer as one JSON object")
	fs.StringVarP(&f.output, "output", "o", "", `write the content to this file, byte for byte; "-" is standard output, alone`)
}

// job turns the command line into a request; its errors are of the command line or of the files that it names.
func (f *requestFlags) job(given []string, stdin io.Reader) (*request.Job, error) {
	spec, err := f.spec(given)
	if err != nil {
		return nil, usageError{err}
	}
	if err := f.checkSources(); err != nil {
		return nil, usageError{err}
	}
	if spec.Data, err = f.payload(stdin); err != nil {
		return nil, err
	}
	if _, _, err := spec.Message(); err != nil {
		return nil, usageError{err}
	}
	cred, err := f.credential(stdin)
	if err != nil {
		return nil, err
	}
	return &request.Job{Spec: *spec, Credential: cred, BlockSize: f.blockSize, Timeout: f.timeout}, nil
}

// checkSources refuses flags that say the same thing twice, or nothing.
func (f *requestFlags) checkSources() error {
	certificate := f.certFile != "" || f.certKeyFile != "" || f.caFile != ""
	switch {
	case f.keyFile == "-" && f.dataFile == "-":
		return errors.New("only one of --psk-file and --data-file can be standard input")
	case f.keyFile != "" && f.key != "":
		return errors.New("--psk-file and --psk-key are both there; choose one")
	case f.data != "" && f.dataFile != "":
		return errors.New("--data and --data-file are both there; choose one")
	case certificate && (f.identity != "" || f.key != "" || f.keyFile != ""):
		return errors.New("a pre-shared key and a certificate are both there; choose one")
	case certificate && (f.certFile == "" || f.certKeyFile == "" || f.caFile == ""):
		return errors.New("a certificate takes all of --cert, --key and --ca")
	case !certificate && (f.identity == "" || f.keyFile == "" && f.key == ""):
		return errors.New("give a pre-shared key (--psk-identity and --psk-file) or a certificate (--cert, --key and --ca)")
	case f.name != "" && !certificate:
		return errors.New("--server-name goes with a certificate")
	}
	return nil
}

func (f *requestFlags) spec(given []string) (*request.Spec, error) {
	s := &request.Spec{
		Plain: f.plain, NonConfirmable: f.non, ContentFormat: f.contentFormat, Accept: f.accept,
		Primitive: f.primitive, Profile: onem2m.CoAPProfile{Legacy: f.legacy},
	}
	var err error
	if s.Operation, err = request.ParseOperation(given[0]); err != nil {
		return nil, err
	}
	if given[0] == "post" && !f.plain && f.resourceType == 0 {
		s.Operation = onem2m.Notify // TS-0008, 6.2.1: a POST without a Resource Type
	}
	if s.Target, err = request.ParseTarget(given[1]); err != nil {
		return nil, err
	}
	if f.blockSize != 0 && (f.blockSize < 16 || f.blockSize > 1024 || f.blockSize&(f.blockSize-1) != 0) {
		return nil, fmt.Errorf("block size %d: write 16, 32, 64, 128, 256, 512 or 1024", f.blockSize)
	}
	if f.timeout <= 0 {
		return nil, errors.New("the timeout must be above 0")
	}
	s.Primitive.ResourceType = onem2m.ResourceType(f.resourceType)
	s.Primitive.ResponseType = onem2m.ResponseType(f.responseType)
	s.Primitive.EventCategory = f.eventClass
	for _, q := range []struct{ key, value string }{{"rcn", f.rcn}, {"drt", f.drt}} {
		if q.value != "" {
			s.Primitive.Query = append(s.Primitive.Query, onem2m.Parameter{Key: q.key, Value: q.value})
		}
	}
	for _, q := range f.query {
		p, err := request.ParseParameter(q)
		if err != nil {
			return nil, err
		}
		s.Primitive.Query = append(s.Primitive.Query, p)
	}
	for _, o := range f.options {
		option, err := request.ParseOption(o)
		if err != nil {
			return nil, err
		}
		s.Extra = append(s.Extra, option)
	}
	return s, nil
}

func (f *requestFlags) payload(stdin io.Reader) ([]byte, error) {
	switch f.dataFile {
	case "":
		return []byte(f.data), nil
	case "-":
		return readBounded(stdin, "standard input", maxRequestData)
	}
	return privatefile.ReadPublic(f.dataFile, maxRequestData)
}

func readBounded(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

func (f *requestFlags) credential(stdin io.Reader) (request.Credential, error) {
	if f.certFile != "" {
		c, err := request.LoadCertificate(f.certFile, f.certKeyFile, f.caFile)
		c.ServerName = f.name
		return c, err
	}
	var line secret.Bytes
	var err error
	switch f.keyFile {
	case "":
		// As libcoap takes it: no prefix has a meaning.
		return request.Credential{Identity: f.identity, Key: secret.New([]byte(f.key))}, nil
	case "-":
		var b []byte
		b, err = readBounded(stdin, "standard input", maxRequestData)
		line = secret.New([]byte(strings.TrimRight(string(b), "\r\n")))
	default:
		line, err = secret.ReadFile(f.keyFile)
	}
	if err != nil {
		return request.Credential{}, err
	}
	key, err := request.ParseKey(line)
	return request.Credential{Identity: f.identity, Key: key}, err
}

// run sends the request and shows whatever came back, also when it was refused.
func (f *requestFlags) run(ctx context.Context, stdout io.Writer, job *request.Job) error {
	answer, err := job.Run(ctx)
	if answer != nil {
		if werr := f.show(stdout, answer); werr != nil {
			return werr
		}
	}
	var connect *request.ConnectError
	if errors.As(err, &connect) {
		return exitError{exitNoAnswer, err}
	}
	return err
}

func (f *requestFlags) show(stdout io.Writer, a *request.Answer) error {
	switch f.output {
	case "":
	case "-":
		_, err := stdout.Write(a.Content)
		return err
	default:
		if err := os.WriteFile(f.output, a.Content, 0o600); err != nil { // the content may be private (R5)
			return err
		}
	}
	if f.asJSON {
		return a.WriteJSON(stdout)
	}
	return a.WritePretty(stdout)
}
