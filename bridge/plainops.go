package bridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"strings"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

const (
	// plainRelease is the Release Version Indicator of the bridge's own requests.
	plainRelease = "3"
	// defaultAppID is the App-ID of a plain device's AE: "N" is the non-registered kind (TS-0001, 7.1.3).
	defaultAppID = "Ncoap-bridge"
	// linkFormat is the Content-Format of application/link-format (RFC 6690, Section 7.3).
	linkFormat = 40
	jsonMedia  = "application/json"
	// numberedMedia and a Content-Format's number are the media type of a format that only the device knows.
	numberedMedia = "application/x-coap-"
)

// newRequestID makes an M2M-Request-ID that nobody can guess: an Originator that repeats one repeats a request.
func newRequestID() string { return rand.Text() }

// plainWrite adds a contentInstance with the payload.
func (b *Bridge) plainWrite(ctx context.Context, j *job) {
	m := j.x.Request()
	resp, err := b.atHome(ctx, j, func(from string) (*onem2m.Request, error) {
		r := plainRequest(onem2m.Create, from, j.container(len(j.path)))
		r.ResourceType = onem2m.TypeContentInstance
		var err error
		r.Content, err = onem2m.EncodeContentInstance(m.Payload, mediaOf(m))
		return r, err
	})
	if err != nil || resp.Status != onem2m.StatusCreated {
		b.endPlain(j, resp, err)
		return
	}
	if m.Code == coap.PUT {
		b.respond(j.x, &coap.Message{Code: coap.Changed}, 0)
		return
	}
	answer := &coap.Message{Code: coap.Created}
	if name := createdName(resp); name != "" {
		for _, segment := range append(j.path, name) {
			answer.Options = answer.Options.AddString(coap.LocationPath, segment)
		}
	}
	b.respond(j.x, answer, 0)
}

// plainRead answers with the latest contentInstance of a container, or with the one that the path names.
func (b *Bridge) plainRead(ctx context.Context, j *job) {
	from := b.voice(j)
	if from == "" { // no AE, so nothing was ever written
		b.respond(j.x, &coap.Message{Code: coap.NotFound}, 0)
		return
	}
	to := j.container(len(j.path))
	resp, err := b.do(ctx, j, plainRequest(onem2m.Retrieve, from, to+"/la"))
	if err == nil && resp.Status == onem2m.StatusNotFound {
		resp, err = b.do(ctx, j, plainRequest(onem2m.Retrieve, from, to)) // a Location-Path names the instance itself
	}
	if err != nil || resp.Status != onem2m.StatusOK {
		b.endPlain(j, resp, err)
		return
	}
	payload, media, ok := onem2m.DecodeContentInstance(resp.Content)
	if !ok { // a container without an instance
		b.respond(j.x, &coap.Message{Code: coap.NotFound}, 0)
		return
	}
	b.respond(j.x, plainContent(j.x.Request(), payload, formatOf(media), resp.Content), 0)
}

// plainContent is the 2.05 with payload, or the 2.03 or 4.06 that the request's ETag or Accept ask for. identity is what
// makes the representation: a contentInstance never changes.
func plainContent(request *coap.Message, payload []byte, format int, identity []byte) *coap.Message {
	sum := sha256.Sum256(identity)
	etag := sum[:8]
	var head coap.Options
	head = head.Add(coap.ETag, etag).AddUint(coap.MaxAge, 0) // the next instance may come at any time
	for _, o := range request.Options {
		if o.ID == coap.ETag && bytes.Equal(o.Value, etag) {
			return &coap.Message{Code: coap.Valid, Options: head} // RFC 7252, Section 5.9.1.3
		}
	}
	if want, ok := request.Options.Uint(coap.Accept); ok && int(want) != format {
		return &coap.Message{Code: coap.NotAcceptable} // RFC 7252, Section 5.10.4
	}
	if format >= 0 {
		head = head.AddUint(coap.ContentFormat, uint32(format))
	}
	return &coap.Message{Code: coap.Content, Options: head, Payload: payload}
}

// plainDelete removes a container with all its instances.
func (b *Bridge) plainDelete(ctx context.Context, j *job) {
	from := b.voice(j)
	if from == "" {
		b.respond(j.x, &coap.Message{Code: coap.Deleted}, 0)
		return
	}
	resp, err := b.do(ctx, j, plainRequest(onem2m.Delete, from, j.container(len(j.path))))
	if err != nil || resp.Status != onem2m.StatusDeleted && resp.Status != onem2m.StatusNotFound {
		b.endPlain(j, resp, err)
		return
	}
	b.respond(j.x, &coap.Message{Code: coap.Deleted}, 0) // also when there was none: RFC 7252, Section 5.8.4
}

// coreAnswer is the answer to GET /.well-known/core (RFC 6690).
func coreAnswer(links string) *coap.Message {
	answer := &coap.Message{Code: coap.Content, Payload: []byte(links)}
	answer.Options = answer.Options.AddUint(coap.ContentFormat, linkFormat).AddUint(coap.MaxAge, 0)
	return answer
}

// coreHere answers GET /.well-known/core where the CSE needn't be asked: with the CSEBase for whoever is no plain device, and
// with nothing for a plain device that has no AE yet or may not read. nil: the CSE has to be asked.
func (b *Bridge) coreHere(dev *Device, cse *CSE) *coap.Message {
	switch {
	case dev.Entity || dev.Profile == ProfileOneM2M:
		return b.cores[cse]
	case len(dev.Bound) == 0, dev.Operations != 0 && !dev.Operations.Has(onem2m.Retrieve):
		return b.cores[nil]
	}
	return nil
}

// plainDiscover answers GET /.well-known/core with a plain device's containers.
func (b *Bridge) plainDiscover(ctx context.Context, j *job) {
	answer := coreAnswer("")
	if from := b.voice(j); from != "" {
		r := plainRequest(onem2m.Retrieve, from, j.container(0))
		r.Query = []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: "ty", Value: "3"}, {Key: "drt", Value: "1"}}
		resp, err := b.do(ctx, j, r)
		if err != nil || resp.Status != onem2m.StatusOK && resp.Status != onem2m.StatusNotFound {
			b.endPlain(j, resp, err)
			return
		}
		answer.Payload = j.links(resp.Content)
	}
	b.respond(j.x, answer, 0)
}

// links turns a discovery result, a list of structured addresses, into links relative to the device's AE.
func (j *job) links(content []byte) []byte {
	var found struct {
		URIs json.RawMessage `json:"m2m:uril"`
	}
	var uris []string
	if json.Unmarshal(content, &found) != nil {
		return nil
	}
	if json.Unmarshal(found.URIs, &uris) != nil { // a list in one string, as TS-0004's XML has it
		var list string
		if json.Unmarshal(found.URIs, &list) != nil {
			return nil
		}
		uris = strings.Fields(list)
	}
	var links []string
	for _, u := range uris {
		to := j.cse.relative(u)
		if rest, ok := cutSegment(to, j.container(0)); ok && targetAllowed(j.dev.Targets, j.cse, to) && !strings.ContainsAny(rest, "<>\",;") {
			links = append(links, "</"+rest+">")
		}
	}
	return []byte(strings.Join(links, ","))
}

// cutSegment returns what follows prefix and a slash in path.
func cutSegment(path, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(path, prefix+"/")
	return rest, ok && rest != ""
}

// mediaOf is what contentInfo says of m's payload: the media type of its Content-Format, "" where it has none. A number
// that no media type is known for is kept as a number, so that a device's own format comes back as it went.
func mediaOf(m *coap.Message) string {
	format, ok := m.Options.Uint(coap.ContentFormat)
	if !ok {
		return ""
	}
	if media, known := onem2m.MediaTypeOf(format); known {
		return media
	}
	return numberedMedia + strconv.FormatUint(uint64(format), 10)
}

// formatOf is the inverse of mediaOf; -1 stands for no Content-Format.
func formatOf(media string) int {
	if number, ok := strings.CutPrefix(media, numberedMedia); ok {
		if format, err := strconv.ParseUint(number, 10, 16); err == nil {
			return int(format)
		}
	}
	if format, ok := onem2m.ContentFormatOf(media); ok {
		return int(format)
	}
	return -1
}

// createdName is the resource name of what a 2001 created, from its URI or out of the representation; "" when the CSE told
// none that a path can hold.
func createdName(resp *onem2m.Response) string {
	name := resp.Created[strings.LastIndexByte(resp.Created, '/')+1:]
	if name == "" {
		name = representedName(resp.Content)
	}
	if !isPlainSegment([]byte(name)) {
		return ""
	}
	return name
}

// representedName is the resourceName of the one resource that content represents.
func representedName(content []byte) string {
	var made map[string]struct {
		Name string `json:"rn"`
	}
	if json.Unmarshal(content, &made) != nil || len(made) != 1 {
		return ""
	}
	for _, r := range made {
		return r.Name
	}
	return ""
}
