package bridge

import (
	"context"
	"errors"

	"coapbridge/bridge/onem2m"
)

// Downstream says where a request of a Service Layer came from, and for whom.
type Downstream struct {
	CSE   string // name in the configuration: whose certificate came, or who was polled
	Token string // of the point of access that was called; "" where AEI says whose polling channel it was
	AEI   string
}

// ErrNoAccess is returned by Deliver for a token or an AE-ID that leads nowhere, or is of another CSE.
var ErrNoAccess = errors.New("bridge: no such point of access")

// Deliver carries a request of a CSE down to the device that from leads to and brings its answer back: on its live session,
// or on one that the bridge begins (TS-0003, 8.2.1). Failures of the device are a Response with their status (its silence
// 4008); the only errors are ErrNoAccess and, for a request that can't be carried, *onem2m.Error.
func (b *Bridge) Deliver(ctx context.Context, from Downstream, r *onem2m.Request) (*onem2m.Response, error) {
	return nil, ErrNoAccess
}

// takeNotification hands a notification to the observation of a plain device that it is for; false: r is for the device
// itself.
func (b *Bridge) takeNotification(dev *Device, cse *CSE, aei string, r *onem2m.Request) (*onem2m.Response, bool) {
	return nil, false
}
