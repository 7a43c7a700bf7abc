package cse_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/cse"
	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata/wire")

// exchange is one row: a CoAP request as a device sends it, and what the CSE answers.
type exchange struct {
	name   string
	in     *coap.Message
	legacy bool
	edit   func(*cse.CSE) // nil: a CSE that follows the standard
	// answer is the answer's bytes; "" is the plain success of the operation. {rqi} stands for the request's X-M2M-RI.
	answer string
	// answerOnly leaves the request out of the golden file: it stands in another row.
	answerOnly bool
	// holds is what the clauses ask for: a refresh of the golden file can't hide its change.
	holds []string
}

// testGoldens carries each row over the whole way, from a CoAP message's bytes over mutually authenticated TLS to the
// CSE's socket and back, and compares the four messages byte by byte with the golden file of that name.
func testGoldens(t *testing.T, group string, rows []exchange) {
	t.Parallel()
	p := newPKI(t)
	answer := make(chan string, 1)
	srv := newRawServer(t, p.serverTLS(), func(w io.Writer, r received) bool {
		return write(w, strings.ReplaceAll(<-answer, "{rqi}", r.header("X-M2M-RI")))
	})
	path := goldenPath(group)
	var text strings.Builder
	names := make(map[string]bool, len(rows))
	want := readGoldens(t, path)
	// One connection for all: a byte too many of one request would spoil the next.
	standard := newClient(t, p, srv.url, nil)
	for _, row := range rows {
		c := standard
		if row.edit != nil {
			c = newClient(t, p, srv.url, row.edit)
		}
		got := row.run(t, c, srv, answer)
		fmt.Fprintf(&text, "## %s\n%s\n", row.name, got)
		t.Run(row.name, func(t *testing.T) {
			for _, clause := range row.holds {
				require.Contains(t, got, clause)
			}
			if !*update {
				text, there := want[row.name]
				require.True(t, there, "%s has no such row; refresh it with -update and review it", path)
				require.Equal(t, text, got, "after a change on purpose, refresh %s with -update and review it", path)
			}
		})
		require.False(t, names[row.name], "row is there twice: %s", row.name)
		names[row.name] = true
	}
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o644))
		return
	}
	require.Equal(t, len(rows), len(want), "%s has rows that nobody sends", path)
}

func goldenPath(group string) string {
	return filepath.Join("..", "..", "testdata", "wire", group+".golden")
}

// readGoldens returns the rows of a golden file by their names.
func readGoldens(t *testing.T, path string) map[string]string {
	t.Helper()
	rows := make(map[string]string)
	text, err := os.ReadFile(path)
	if *update && errors.Is(err, os.ErrNotExist) {
		return rows
	}
	require.NoError(t, err)
	for part := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n## ") {
		name, body, _ := strings.Cut(strings.TrimPrefix(part, "## "), "\n")
		rows[name] = strings.TrimSuffix(body, "\n") + "\n"
	}
	return rows
}

// run carries the row, and returns the text of its four messages, or of those that there were.
func (row *exchange) run(t *testing.T, c *cse.Client, srv *rawServer, answer chan string) string {
	t.Helper()
	raw := serialise(t, row.in)
	m, err := coap.Parse(raw)
	require.NoError(t, err, row.name)
	text := coapText("coap> ", raw, &m, row.legacy)

	profile := onem2m.CoAPProfile{Legacy: row.legacy}
	r, err := onem2m.RequestFromCoAP(&m, profile)
	if err != nil {
		return text + refusalText(t, err)
	}
	reply := row.answer
	if reply == "" {
		reply = success(r)
	}
	before := len(srv.seen())
	answer <- reply
	resp, err := do(t, c, r)
	seen := srv.seen()[before:]
	if len(seen) == 0 {
		<-answer // nobody asked for it
		require.Error(t, err, row.name)
		return text + refusalText(t, err)
	}
	require.Len(t, seen, 1, row.name)
	text += httpText(t, "http> ", seen[0].head, seen[0].body, srv.url)
	if row.answerOnly {
		text = ""
	}
	head, body, _ := strings.Cut(strings.ReplaceAll(reply, "{rqi}", r.RequestID), "\r\n\r\n")
	text += httpText(t, "http< ", head+"\r\n\r\n", body, srv.url)
	if err != nil {
		return text + refusalText(t, err)
	}
	back, err := resp.CoAP(r, profile)
	if err != nil {
		return text + refusalText(t, err)
	}
	back.Type, back.MessageID, back.Token = coap.Acknowledgement, m.MessageID, m.Token // the endpoint's part
	raw = serialise(t, back)
	parsed, err := coap.Parse(raw)
	require.NoError(t, err, row.name)
	return text + coapText("coap< ", raw, &parsed, row.legacy)
}

// serialise returns the bytes of m.
func serialise(t *testing.T, m *coap.Message) []byte {
	t.Helper()
	raw, err := m.AppendBinary(nil)
	require.NoError(t, err)
	return raw
}

// success is what a CSE answers to r when all is well.
func success(r *onem2m.Request) string {
	status, rsc, more, body := "200 OK", 2000, "", ""
	switch {
	case r.ResponseType == onem2m.NonBlockingSynch, r.ResponseType == onem2m.FlexBlocking:
		status, rsc, more = "202 Accepted", 1001, "Content-Location: /cse-in/req1\r\n"
	case r.ResponseType == onem2m.NonBlockingAsynch:
		status, rsc = "202 Accepted", 1002
	case r.Operation == onem2m.Create:
		status, rsc, more, body = "201 Created", 2001, "Content-Location: /cse-in/ae/new\r\n", `{"m2m:cnt":{"rn":"new"}}`
	case r.Operation == onem2m.Retrieve:
		body = `{"m2m:cnt":{"rn":"c"}}`
	case r.Operation == onem2m.Update:
		rsc = 2004
	case r.Operation == onem2m.Delete:
		rsc = 2002
	}
	return reply(status, rsc, more, body)
}

// reply is an answer in the standard's form, with further header lines and a JSON body if there is one.
func reply(status string, rsc int, more, body string) string {
	if body != "" {
		more += "Content-Type: application/json\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %s\r\nX-M2M-RSC: %d\r\nX-M2M-RI: {rqi}\r\nX-M2M-RVI: 3\r\n%sContent-Length: %d\r\n\r\n%s",
		status, rsc, more, len(body), body)
}

// httpText shows a message line by line. The only part that a run chooses, the CSE's port, is checked and left out.
func httpText(t *testing.T, prefix, head, body, url string) string {
	t.Helper()
	var b strings.Builder
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	for i, line := range lines {
		if prefix == "http> " && i == 1 {
			require.Equal(t, "Host: "+strings.TrimPrefix(url, "https://"), line, "RFC 9112, Section 3.2")
			line = "Host: (the CSE's)"
		}
		b.WriteString(prefix + visible(line) + "\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "%s(body) %q\n", prefix, body)
	}
	return b.String()
}

// visible quotes a line that holds more than printable ASCII.
func visible(line string) string {
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return "(quoted) " + strconv.Quote(line)
		}
	}
	return line
}

// coapText shows a message: its bytes, and what they say.
func coapText(prefix string, raw []byte, m *coap.Message, legacy bool) string {
	var b strings.Builder
	for rest := raw; len(rest) > 0; rest = rest[min(len(rest), 48):] {
		fmt.Fprintf(&b, "%s(hex) %x\n", prefix, rest[:min(len(rest), 48)])
	}
	fmt.Fprintf(&b, "%s%s %s mid %04x token %x\n", prefix, m.Type, m.Code, m.MessageID, m.Token)
	for _, o := range m.Options {
		name, numeric := optionName(o.ID, legacy)
		value := strconv.Quote(string(o.Value))
		if numeric && len(o.Value) <= 4 {
			v, _ := coap.Options{o}.Uint(o.ID)
			value = fmt.Sprintf("%d (%x)", v, o.Value)
		}
		fmt.Fprintf(&b, "%s%d %s %s\n", prefix, o.ID, name, value)
	}
	if len(m.Payload) > 0 {
		fmt.Fprintf(&b, "%s(payload) %q\n", prefix, m.Payload)
	}
	return b.String()
}

// optionName returns the name of an option and whether it is a number.
func optionName(id coap.OptionID, legacy bool) (name string, numeric bool) {
	switch id {
	case coap.URIPath:
		return "Uri-Path", false
	case coap.URIQuery:
		return "Uri-Query", false
	case coap.LocationPath:
		return "Location-Path", false
	case coap.ETag:
		return "ETag", false
	case coap.ContentFormat:
		return "Content-Format", true
	case coap.MaxAge:
		return "Max-Age", true
	case coap.Accept:
		return "Accept", true
	}
	for _, o := range oneM2MOptions {
		if id == o.current && (!legacy || o.legacy == 0) || legacy && id == o.legacy {
			return "oneM2M-" + o.name, o.numeric
		}
	}
	return "(unknown)", false
}

// refusalText is what becomes of a row that has no answer of the CSE.
func refusalText(t *testing.T, err error) string {
	t.Helper()
	var wrong *onem2m.Error
	var failed *cse.Error
	switch {
	case errors.As(err, &failed):
		return fmt.Sprintf("failed: %s\n", failed.Reason)
	case errors.As(err, &wrong):
		return fmt.Sprintf("refused: %s, %s: %s\n", wrong.Status, wrong.Status.CoAP(), wrong.Detail)
	}
	require.NoError(t, err, "error of another type")
	return ""
}
