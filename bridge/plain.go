package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
	"coapbridge/dtls"
)

// The plain profile: a device that knows nothing of oneM2M reads and writes resources of its own. Each path is a
// container below the device's AE; a POST or PUT adds a contentInstance, a GET reads the latest.

// servePlain takes a request without oneM2M options.
func (b *Bridge) servePlain(j *job) {
	b.stats.request(ProfilePlain)
	m := j.x.Request()
	if isWellKnownCore(m) && !conditional(m) {
		j.operation, j.run = onem2m.Retrieve, (*Bridge).plainDiscover
		b.submitPlain(j)
		return
	}
	if j.dev.Entity { // it has no AE of its own that the bridge could be the voice of
		b.refusePlain(j.x, j.s, RefusedProfile, coap.BadRequest)
		return
	}
	path, ok := plainPath(m)
	if !ok {
		b.refusePlain(j.x, j.s, RefusedMalformed, coap.BadRequest)
		return
	}
	j.path = path
	switch m.Code {
	case coap.GET:
		j.operation, j.run = onem2m.Retrieve, (*Bridge).plainRead
	case coap.POST, coap.PUT:
		j.operation, j.run = onem2m.Create, (*Bridge).plainWrite
	case coap.DELETE:
		j.operation, j.run = onem2m.Delete, (*Bridge).plainDelete
	}
	switch {
	case conditional(m) && m.Code != coap.POST && m.Code != coap.PUT && m.Code != coap.DELETE:
		b.refusePlain(j.x, j.s, RefusedMalformed, coap.BadOption) // a critical option that nothing would come of
	case j.run == nil, m.Code == coap.DELETE && !j.dev.AllowDelete, len(path) == 0 && m.Code != coap.GET:
		b.refusePlain(j.x, j.s, RefusedMethod, coap.MethodNotAllowed)
	case len(path) == 0:
		b.refusePlain(j.x, j.s, RefusedTarget, coap.NotFound)
	case len(m.Payload) > b.maxPayload(j.dev):
		b.refusePlain(j.x, j.s, RefusedSize, coap.RequestEntityTooLarge)
	default:
		if why, ok := b.allowsPlain(j); !ok {
			b.refusePlain(j.x, j.s, why, coap.NotFound) // B06: as if it did not exist
			return
		}
		if j.operation != onem2m.Retrieve && !b.fresh(j) {
			return
		}
		b.submitPlain(j)
	}
}

// allowsPlain holds a plain request against the device's policy.
func (b *Bridge) allowsPlain(j *job) (Refusal, bool) {
	switch {
	case j.path == nil: // discovery decides for itself what to show
		return "", true
	case j.dev.Operations != 0 && !j.dev.Operations.Has(j.operation):
		return RefusedOperation, false
	case !targetAllowed(j.dev.Targets, j.cse, j.container(len(j.path))):
		return RefusedTarget, false
	}
	return "", true
}

func (b *Bridge) submitPlain(j *job) {
	if why, ok := b.submit(j); !ok {
		b.failPlain(j, overload(why), nil)
	}
}

// plainPath reads the Uri-Path. Names that mean something of their own in oneM2M are refused, and so is what could leave
// the device's AE (S40). A query is refused rather than ignored: Uri-Query is critical (RFC 7252, Section 5.4.1).
func plainPath(m *coap.Message) ([]string, bool) {
	var path []string
	for _, o := range m.Options {
		switch o.ID {
		case coap.URIQuery:
			return nil, false
		case coap.URIPath:
			if len(path) == maxPlainSegments || !isPlainSegment(o.Value) {
				return nil, false
			}
			path = append(path, string(o.Value))
		}
	}
	return path, true
}

func isPlainSegment(b []byte) bool {
	switch s := string(b); {
	case s == "", s == ".", s == "..", s == "~", s == "_", s == "-":
		return false
	case s == "la", s == "ol", s == "fopt", s == "pcu": // virtual resources (TS-0001, 9.6)
		return false
	case !utf8.ValidString(s), strings.ContainsAny(s, `/\%?#`):
		return false
	default:
		return strings.IndexFunc(s, unicode.IsControl) < 0
	}
}

func isWellKnownCore(m *coap.Message) bool {
	if m.Code != coap.GET {
		return false
	}
	wanted := [...]string{".well-known", "core"}
	n := 0
	for _, o := range m.Options {
		if o.ID != coap.URIPath {
			continue
		}
		if n == len(wanted) || string(o.Value) != wanted[n] {
			return false
		}
		n++
	}
	return n == len(wanted)
}

// container is the To of the container of the path's first n segments.
func (j *job) container(n int) string {
	return strings.Join(append([]string{j.cse.Base, resourceName(j.dev.Name)}, j.path[:n]...), "/")
}

// resourceName is the name of a plain device's AE. The device's name is unique; one that isn't a resource name as it is
// gets a digest behind it, so that two devices never meet in one AE.
func resourceName(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, name)
	if safe == name && strings.Trim(safe, ".-_") != "" {
		return safe
	}
	sum := sha256.Sum256([]byte(name))
	return safe + "-" + hex.EncodeToString(sum[:4])
}

// DefaultAEID is the AE-ID that a plain device's AE asks for where its entry names none in full.
func DefaultAEID(name string) string { return "C" + resourceName(name) }

// ownAEID is the AE-ID that a plain device's AE asks for, and that the bridge speaks with for it: the first one that its
// entry names in full, else the default of its name.
func ownAEID(dev *Device) string {
	for _, o := range dev.Originators {
		if !strings.ContainsAny(o, "*?") {
			return o
		}
	}
	return DefaultAEID(dev.Name)
}

// voice is the AE-ID that the bridge speaks with for a plain device; "" before its AE was registered. A device that is a
// oneM2M device as well may have others.
func (b *Bridge) voice(j *job) string {
	own := ownAEID(j.dev)
	if given, ok := b.named.Load(address{j.dev.Name, j.cse.Name, j.container(0)}); ok { // by a CSE that took none of ours
		own = given.(string)
	}
	if slices.Contains(j.dev.Bound, own) {
		return own
	}
	return ""
}

// plainRequest is a request of the bridge's own making, in the device's name.
func plainRequest(op onem2m.Operation, from, to string) *onem2m.Request {
	r := &onem2m.Request{Operation: op, From: from, To: to, RequestID: newRequestID(), ReleaseVersion: plainRelease}
	if op == onem2m.Create {
		r.MediaType = jsonMedia
	}
	return r
}

// atHome sends what build makes for the device's AE-ID. When the AE or the container is missing, it makes them and sends
// once more: 4004 says that nothing was executed, and a CSE that lost its AEs answers 4103 to their Originators.
func (b *Bridge) atHome(ctx context.Context, j *job, build func(from string) (*onem2m.Request, error)) (*onem2m.Response, error) {
	from := b.voice(j)
	for attempt := 1; ; attempt++ {
		if from == "" {
			var err error
			if from, err = b.settle(ctx, j); err != nil {
				return nil, err
			}
		}
		r, err := build(from)
		if err != nil {
			return nil, err
		}
		resp, err := b.do(ctx, j, r)
		if err != nil || attempt == maxAttemptsPlain {
			return resp, err
		}
		switch resp.Status {
		case onem2m.StatusNotFound, onem2m.StatusOriginatorHasNoPrivilege, onem2m.StatusOriginatorNotAuthenticated:
			from = ""
		default:
			return resp, nil
		}
	}
}

// settle makes the AE and the containers of j's path, and returns the AE-ID.
func (b *Bridge) settle(ctx context.Context, j *job) (string, error) {
	defer b.homes.lock(j.dev.Name)()
	if dev, ok := b.cfg.Directory.Device(j.s.peer); ok { // another request may just have registered it
		j.dev = dev
	}
	from, err := b.registerAE(ctx, j)
	if err != nil {
		return "", err
	}
	for n := range j.path {
		r := plainRequest(onem2m.Create, from, j.container(n))
		r.ResourceType = onem2m.TypeContainer
		var err error
		if r.Content, err = onem2m.EncodeContainer(onem2m.Container{Name: j.path[n]}); err != nil {
			return "", err
		}
		resp, err := b.do(ctx, j, r)
		if err != nil {
			return "", err
		}
		if resp.Status != onem2m.StatusCreated && resp.Status != onem2m.StatusConflict {
			return "", &refusedByCSE{resp.Status}
		}
	}
	return from, nil
}

// registerAE registers the device's AE, or adopts it where it exists and is this device's.
func (b *Bridge) registerAE(ctx context.Context, j *job) (string, error) {
	from := b.voice(j)
	if from == "" {
		from = ownAEID(j.dev)
	}
	if !slices.Contains(j.dev.Originators, from) && b.cfg.Directory.BelongsToOther(j.dev, from) {
		return "", ErrBound
	}
	r := plainRequest(onem2m.Create, from, j.cse.Base)
	r.ResourceType = onem2m.TypeAE
	j.invited = b.invite(j, from, nil)
	defer b.withdraw(j.invited)
	ae := onem2m.AE{Name: resourceName(j.dev.Name), AppID: appID(j.dev), ReleaseVersions: []string{plainRelease},
		Reachable: j.cse.Downlink == DownlinkListen, PointOfAccess: j.invited.urls()} // with rr true no polling channel is looked for
	var err error
	if r.Content, err = onem2m.EncodeAE(ae); err != nil {
		return "", err
	}
	resp, err := b.do(ctx, j, r)
	if err != nil {
		return "", err
	}
	switch resp.Status {
	case onem2m.StatusCreated:
		if err := b.bind(j, resp, r.To); err != nil {
			return "", err
		}
		aei, err := onem2m.CreatedAEID(resp)
		b.reachable.Store(subscriptionKey{j.cse.Name, aei}, true)
		return aei, err
	case onem2m.StatusConflict, onem2m.StatusOriginatorHasAlreadyRegistered:
		return from, b.adopt(ctx, j, from)
	}
	return "", &refusedByCSE{resp.Status}
}

// adopt makes sure that the AE of the device's name is the one of from, and that from is this credential's: bound to it, or
// named in full by the operator's entry. A name is anybody's choice, so that an AE that bears it says nothing; one of
// anybody else's is left alone.
func (b *Bridge) adopt(ctx context.Context, j *job, from string) error {
	bound := slices.Contains(j.dev.Bound, from)
	if !bound && !slices.Contains(j.dev.Originators, from) {
		return ErrBound
	}
	resp, err := b.do(ctx, j, plainRequest(onem2m.Retrieve, from, j.container(0)))
	if err != nil {
		return err
	}
	if aei, err := onem2m.AEID(resp); resp.Status != onem2m.StatusOK || err != nil || aei != from {
		return ErrBound
	}
	if bound {
		return nil
	}
	return b.bindAE(j, from, Access{})
}

func appID(dev *Device) string {
	if dev.AppID != "" {
		return dev.AppID
	}
	return defaultAppID
}

// refusedByCSE is a status that a plain device's AE or container was refused with.
type refusedByCSE struct{ status onem2m.StatusCode }

func (e *refusedByCSE) Error() string { return fmt.Sprintf("bridge: the CSE answered %d", e.status) }

var _ dtls.Handler = (*Bridge)(nil)
