package bridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
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
	jsonMedia    = "application/json"
	// numberedMedia and a Content-Format's number are the media type of a format that only the device knows.
	numberedMedia = "application/x-coap-"
)

// newRequestID makes an M2M-Request-ID that nobody can guess: an Originator that repeats one repeats a request.
func newRequestID() string { return rand.Text() }

// plainWrite adds a contentInstance with the payload.
func (b *Bridge) plainWrite(ctx context.Context, j *job) {
	m := j.x.Request()
	if !b.meetsCondition(ctx, j) {
		return
	}
	resp, err := b.addInstance(ctx, j, m)
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

// addInstance adds a contentInstance with m's payload to the container of j's path.
func (b *Bridge) addInstance(ctx context.Context, j *job, m *coap.Message) (*onem2m.Response, error) {
	return b.atHome(ctx, j, func(from string) (*onem2m.Request, error) {
		r := plainRequest(onem2m.Create, from, j.container(len(j.path)))
		r.ResourceType = onem2m.TypeContentInstance
		var err error
		r.Content, err = onem2m.EncodeContentInstance(m.Payload, mediaOf(m))
		return r, err
	})
}

// reading is what a plain device gets to see of a contentInstance.
type reading struct {
	payload []byte
	media   string
	etag    [8]byte
	latest  bool // of the container that was asked for; else the instance itself was
}

// decodeInstance reads a contentInstance in JSON; false when content is none.
func decodeInstance(content []byte) (reading, bool) {
	payload, media, ok := onem2m.DecodeContentInstance(content)
	if !ok {
		return reading{}, false
	}
	// A contentInstance never changes, so that its identifier and what it holds make the same tag however a CSE writes it.
	h := sha256.New()
	writeString(h, represented(content).ID)
	writeString(h, media)
	h.Write(payload)
	i := reading{payload: payload, media: media}
	copy(i.etag[:], h.Sum(nil))
	return i, true
}

// errNoInstance is returned by read for a container without an instance.
var errNoInstance = errors.New("bridge: nothing there to read")

// read retrieves the latest contentInstance of the container of j's path, or the one that the path names, which a
// Location-Path does. A status that is neither 2000 nor 4004 is a *refusedByCSE.
func (b *Bridge) read(ctx context.Context, j *job, from string) (reading, error) {
	to := j.container(len(j.path))
	resp, err := b.do(ctx, j, plainRequest(onem2m.Retrieve, from, to+"/la"))
	latest := err == nil && resp.Status == onem2m.StatusOK
	if err == nil && resp.Status == onem2m.StatusNotFound {
		resp, err = b.do(ctx, j, plainRequest(onem2m.Retrieve, from, to))
	}
	switch {
	case err != nil:
		return reading{}, err
	case resp.Status == onem2m.StatusNotFound:
		return reading{}, errNoInstance
	case resp.Status != onem2m.StatusOK:
		return reading{}, &refusedByCSE{resp.Status}
	}
	i, ok := decodeInstance(resp.Content)
	if !ok { // a container without an instance
		return reading{}, errNoInstance
	}
	i.latest = latest
	return i, nil
}

// plainRead answers with the latest contentInstance of a container, or with the one that the path names.
func (b *Bridge) plainRead(ctx context.Context, j *job) {
	from := b.voice(j)
	if from == "" { // no AE, so nothing was ever written
		b.endPlain(j, nil, errNoInstance)
		return
	}
	if o := b.newObserver(j, from); o != nil {
		b.plainObserve(ctx, o)
		return
	}
	i, err := b.read(ctx, j, from)
	if err != nil {
		b.endPlain(j, nil, err)
		return
	}
	b.respond(j.x, i.answer(j.x.Request()), 0)
}

// answer is the 2.05 with the instance, or the 2.03 or 4.06 that the request's ETag or Accept ask for.
func (i reading) answer(request *coap.Message) *coap.Message {
	for _, o := range request.Options {
		if o.ID == coap.ETag && bytes.Equal(o.Value, i.etag[:]) {
			m := i.message()
			m.Code, m.Options, m.Payload = coap.Valid, m.Options.Remove(coap.ContentFormat), nil // RFC 7252, Section 5.9.1.3
			return m
		}
	}
	if want, ok := request.Options.Uint(coap.Accept); ok && int(want) != formatOf(i.media) {
		return explained(request, coap.NotAcceptable, "") // RFC 7252, Section 5.10.4
	}
	return i.message()
}

// message is the 2.05 with the instance.
func (i reading) message() *coap.Message {
	m := &coap.Message{Code: coap.Content, Payload: i.payload}
	m.Options = m.Options.Add(coap.ETag, i.etag[:]).AddUint(coap.MaxAge, 0) // the next instance may come at any time
	if format := formatOf(i.media); format >= 0 {
		m.Options = m.Options.AddUint(coap.ContentFormat, uint32(format))
	}
	return m
}

// plainDelete removes a container with all its instances.
func (b *Bridge) plainDelete(ctx context.Context, j *job) {
	if !b.meetsCondition(ctx, j) {
		return
	}
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
	b.endWatches(j)
	b.respond(j.x, &coap.Message{Code: coap.Deleted}, 0) // also when there was none: RFC 7252, Section 5.8.4
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
		name = represented(resp.Content).Name
	}
	if !isPlainSegment([]byte(name)) {
		return ""
	}
	return name
}

// representation is what the bridge reads of the one resource that a content represents.
type representation struct {
	Name string `json:"rn"`
	ID   string `json:"ri"`
}

// represented reads content, JSON, as a representation; of anything else it is empty.
func represented(content []byte) representation {
	var made map[string]representation
	if json.Unmarshal(content, &made) != nil || len(made) != 1 {
		return representation{}
	}
	for _, r := range made {
		return r
	}
	return representation{}
}
