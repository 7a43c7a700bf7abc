package bridge

import (
	"slices"
	"strings"
	"time"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

func (d destination) profile() onem2m.CoAPProfile {
	return onem2m.CoAPProfile{Legacy: d.dev.LegacyOptions, StrictTimestamps: d.dev.StrictTimestamps}
}

// downMessage is r as the device gets it. The error is an *onem2m.Error.
func (b *Bridge) downMessage(d destination, r *onem2m.Request, deadline time.Time) (*coap.Message, error) {
	down := *r
	var err error
	if down.To, err = d.to(r.To); err != nil {
		return nil, err
	}
	if d.dev.Actuator {
		down.RequestExpiration = freshUntil(deadline)
	}
	if down.Content, err = b.show(d.cse, nil, r.Content, r.MediaType); err != nil {
		return nil, err
	}
	return down.CoAP(d.profile())
}

// freshUntil is the rqet of a command: absolute, for the device reads a relative one when it gets it, however late that is
// (C03). Whole seconds, which every device reads.
func freshUntil(deadline time.Time) string { return deadline.UTC().Format("20060102T150405") }

// to is what the device is told of To: the path of its own pointOfAccess, where it wrote one, and then To as the CSE named it,
// as if the CSE had called it there; To is its AE-ID when the CSE named nothing but the point of access.
//
// Deviation: TS-0008, 6.2.2.3 takes host and port of a pointOfAccess only. CSEs put To behind its path, or call just that.
func (d destination) to(to string) (string, error) {
	prefix := ""
	if len(d.access.POA) > 0 {
		prefix = pathOf(d.access.POA[0])
	}
	switch {
	case prefix == "" && to == "":
		return d.aei, nil
	case prefix == "":
		return to, nil
	case to == "":
		return prefix, nil
	}
	segments, err := onem2m.Segments(to)
	if err != nil {
		return "", err
	}
	return prefix + "/" + strings.Join(segments, "/"), nil
}

// pathOf is the path of a device's own address, in the form of a CSE-relative To; "" when there is none, or none that can be
// taken. Nothing is dialled there (S42).
func pathOf(uri string) string {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || !strings.EqualFold(scheme, "coap") && !strings.EqualFold(scheme, "coaps") {
		return ""
	}
	_, path, _ := strings.Cut(rest, "/")
	path, _, _ = strings.Cut(path, "?")
	to, _, err := onem2m.ParseTarget("/" + path)
	if err != nil || strings.HasPrefix(to, "/") {
		return ""
	}
	return to
}

// namesOthers reports whether r, which came by one device's point of access, names another one's AE.
func (b *Bridge) namesOthers(d destination, r *onem2m.Request) bool {
	short := d.cse.stem(d.cse.relative(r.To))
	if rest, ok := strings.CutPrefix(short, d.cse.Base+"/"); ok {
		short = rest
	}
	aei, _, _ := strings.Cut(short, "/")
	return aei != "" && aei != d.aei && !slices.Contains(d.dev.Originators, aei) && b.cfg.Directory.BelongsToOther(d.dev, aei)
}
