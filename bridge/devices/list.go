package devices

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"

	"coapbridge/bridge/devices/privatefile"
	"coapbridge/dtls"
)

// Summary is what may be shown of a device: no key.
type Summary struct {
	Name        string   `json:"name"`
	Entity      bool     `json:"entity,omitempty"`
	Tenant      string   `json:"tenant,omitempty"`
	CSE         string   `json:"cse,omitempty"`
	Client      string   `json:"client,omitempty"`
	Profile     string   `json:"profile"`
	Credentials []string `json:"credentials"` // "psk", "certificate", "rawPublicKey"
	Identity    string   `json:"identity,omitempty"`
	Fingerprint string   `json:"fingerprint,omitempty"`
	SAN         string   `json:"san,omitempty"`
	RawKey      string   `json:"rawPublicKey,omitempty"`
	OneKey      bool     `json:"oneKey,omitempty"` // one PSK for both directions (S7)
	Originators []string `json:"originators,omitempty"`
	Operations  []string `json:"operations,omitempty"`
	Targets     []string `json:"targets,omitempty"`
	MaxPayload  int      `json:"maxPayload,omitempty"`
	Address     string   `json:"address,omitempty"`
	Actuator    bool     `json:"actuator,omitempty"`
	Timing      string   `json:"timing,omitempty"`  // "": default
	Observe     []string `json:"observe,omitempty"` // PATH or PATH=CONTAINER

	// ID is as whom the log knows the device; its ID is "" where only the certificate that comes says so.
	ID dtls.PeerID `json:"-"`
}

// List reads a devices file and returns what may be shown of each device, in the file's order. Faults are Problems.
func List(file string) ([]Summary, Problems, error) {
	items, _, problems, warnings := load(file, nil, nil)
	if len(problems) > 0 {
		return nil, warnings, problems
	}
	list := make([]Summary, len(items))
	for i, it := range items {
		list[i] = it.entry.summary()
	}
	return list, warnings, nil
}

// Check reads a devices file for its faults alone; cses are the CSEs of the configuration, as in Options.
func Check(file string, cses []CSE) (problems, warnings Problems) {
	_, _, problems, warnings = load(file, cses, nil)
	return problems, warnings
}

func (e *Entry) summary() Summary {
	s := Summary{
		Name: e.Name, Entity: e.Entity, Tenant: e.Tenant, CSE: e.CSE, Client: e.Client, Profile: e.Profile.String(),
		Credentials: []string{}, OneKey: e.OneKey(), Originators: e.Originators, Targets: e.Targets, MaxPayload: e.MaxPayload,
		RawKey: string(e.RawPublicKey),
	}
	s.ID = e.DialID()
	s.Address, s.Actuator = e.Address.String(), e.Actuator
	if e.Timing != 0 {
		s.Timing = e.Timing.String()
	}
	for _, o := range e.Observe {
		if o.Container == "" || o.Container == o.Path {
			s.Observe = append(s.Observe, o.Path)
			continue
		}
		s.Observe = append(s.Observe, o.Path+"="+o.Container)
	}
	for _, o := range e.Operations {
		s.Operations = append(s.Operations, o.String())
	}
	if e.PSK != nil {
		s.Credentials, s.Identity = append(s.Credentials, "psk"), e.PSK.Identity
	}
	if c := e.Certificate; c != nil {
		s.Credentials = append(s.Credentials, "certificate")
		s.Fingerprint, s.SAN = string(c.Fingerprint), c.SAN.String()
	}
	if e.RawPublicKey != "" {
		s.Credentials = append(s.Credentials, "rawPublicKey")
	}
	return s
}

// CheckBindings reads a bindings file for its faults alone, without locking it; a missing one has none.
func CheckBindings(file string) (problems, warnings Problems) {
	data, err := privatefile.Read(file, maxBindings)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := privatefile.CheckFolder(filepath.Dir(file)); err != nil {
			return Problems{*fileProblem(file, err)}, nil
		}
		return nil, nil
	case err != nil:
		return Problems{*fileProblem(file, err)}, nil
	}
	b := newBindings(file)
	whole := bytes.LastIndexByte(data, '\n') + 1
	_ = errors.As(b.replay(data[:whole]), &problems)
	return problems, nil
}

// PSKOf returns the identity and the upward key of one device, for the demonstration that shows how to use them. Its
// errors are Problems, ErrNotFound when no such device with a PSK is there, and fs.ErrNotExist without a file.
func PSKOf(file, name string) (identity string, up Key, err error) {
	if _, err := privatefile.Read(file, maxFile); errors.Is(err, fs.ErrNotExist) {
		return "", Key{}, err
	}
	items, _, problems, _ := load(file, nil, nil)
	if len(problems) > 0 {
		return "", Key{}, problems
	}
	for _, it := range items {
		if it.entry.Name == name && it.entry.PSK != nil {
			return it.entry.PSK.Identity, it.entry.PSK.Up, nil
		}
	}
	return "", Key{}, ErrNotFound
}
