package bridge

import "coapbridge/bridge/onem2m"

// takeNotification hands a notification to the observation of a plain device that it is for; false: r is for the device
// itself.
func (b *Bridge) takeNotification(dev *Device, cse *CSE, aei string, r *onem2m.Request) (*onem2m.Response, bool) {
	return nil, false
}
