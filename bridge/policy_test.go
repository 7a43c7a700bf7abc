package bridge

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
)

func TestMatchWildcard(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"Cmeter1", "Cmeter1", true},
		{"Cmeter1", "Cmeter12", false},
		{"Cmeter*", "Cmeter", true},
		{"Cmeter*", "Cmeter-7", true},
		{"C*X", "C123X", true},
		{"C*X", "C123XY", false},
		{"C*1*2", "Ca1b12", true},
		{"C??", "Cab", true},
		{"C??", "Ca", false},
		{"*", "", true},
		{"**", "anything", true},
		{"?", "", false},
		{"", "", true},
		{"", "C", false},
		{"cmeter*", "Cmeter1", false},
	} {
		require.Equal(t, c.want, matchWildcard(c.pattern, c.s), "%q against %q", c.s, c.pattern)
	}
}

func TestTargetAllowed(t *testing.T) {
	t.Parallel()
	prefixes := []string{"cse-in/site1", "/other/base"}
	for to, want := range map[string]bool{
		"cse-in/site1":                       true,
		"cse-in/site1/pump":                  true,
		"-/site1/pump":                       true,
		"/id-in/cse-in/site1/pump":           true,
		"/id-in/-/site1":                     true,
		"//sp.example/id-in/cse-in/site1/x":  true,
		"//sp.example/other/base/x":          true,
		"/other/base/x":                      true,
		"cse-in/site10":                      false,
		"cse-in":                             false,
		"cse-in/site2":                       false,
		"cnt4711":                            false,
		"//other.example/id-in/cse-in/site1": false,
		"/other/base2":                       false,
		"/id-in":                             false,
		"/id-inX/cse-in/site1":               false,
	} {
		require.Equal(t, want, targetAllowed(prefixes, &testCSE, to), to)
	}
	require.True(t, targetAllowed(nil, &testCSE, "anything"), "no prefixes allow every target")
}

// TestB01ForeignOriginator: From of another device is 4.03 with RSC 4106, and the CSE sees nothing (TS-0004, 7.3.2.1).
func TestB01ForeignOriginator(t *testing.T) {
	t.Parallel()
	dev := Device{Name: "meter1", Originators: []string{"Cmeter1", "Cfleet-*"}}
	var audit strings.Builder // of goroutines that do one request after the other
	f := start(t, dev, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&audit, nil)) })
	require.NoError(t, f.directory.Bind(psk("other").ID, "in", "Cfleet-9", Access{}))

	for name, r := range map[string]*onem2m.Request{
		"another AE-ID":         {Operation: onem2m.Retrieve, To: "cse-in", From: "Cmeter2"},
		"other case":            {Operation: onem2m.Retrieve, To: "cse-in", From: "CMETER1"},
		"percent form":          {Operation: onem2m.Retrieve, To: "cse-in", From: "%43meter1"},
		"longer":                {Operation: onem2m.Retrieve, To: "cse-in", From: "Cmeter11"},
		"SP-relative":           {Operation: onem2m.Retrieve, To: "cse-in", From: "/other/Cmeter1"},
		"bound to another":      {Operation: onem2m.Retrieve, To: "cse-in", From: "Cfleet-9"},
		"AE CREATE, other stem": {Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in", From: "Cmeter2", Content: []byte(`{"m2m:ae":{}}`), MediaType: "application/json"},
		"AE CREATE, any stem":   {Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in", From: "C", Content: []byte(`{"m2m:ae":{}}`), MediaType: "application/json"},
		"NOTIFY":                {Operation: onem2m.Notify, To: "cse-in/x", From: "Cmeter2", Content: []byte(`{"m2m:sgn":{}}`), MediaType: "application/json"},
		"nested primitive": {Operation: onem2m.Notify, To: "cse-in/x", From: "Cmeter1", MediaType: "application/json",
			Content: []byte(`{"m2m:rqp":{"op":2,"to":"cse-in","fr":"Cmeter2","rqi":"1","rvi":"3"}}`)},
		"nested, in a batch": {Operation: onem2m.Notify, To: "cse-in/x", From: "Cmeter1", MediaType: "application/json",
			Content: []byte(`{"m2m:agr":{"m2m:rqp":[{"op":2,"to":"a","fr":"Cmeter1","rqi":"1"},{"op":2,"to":"b","fr":"Cmeter2","rqi":"2"}]}}`)},
		"nested, percent form": {Operation: onem2m.Notify, To: "cse-in/x", From: "Cmeter1", MediaType: "application/json",
			Content: []byte(`{"m2m:rqp":{"op":2,"to":"cse-in","fr":"%43meter1","rqi":"1"}}`)},
		"nested, to a fan-out point": {Operation: onem2m.Notify, To: "cse-in/x/fopt", From: "Cmeter1", MediaType: "application/json",
			Content: []byte(`{"m2m:rqp":{"op":2,"to":"cse-in","fr":"Cmeter2","rqi":"1"}}`)},
		"fan-out point": {Operation: onem2m.Retrieve, To: "cse-in/g/fopt", From: "Cmeter2"},
	} {
		r.RequestID, r.ReleaseVersion = "rqi-"+name[:2], "3"
		answer, resp := f.oneM2M(r)
		require.Equal(t, "4.03", answer.Code.String(), name)
		require.Equal(t, onem2m.StatusOriginatorNotAuthenticated, resp.Status, name)
		require.Equal(t, r.RequestID, resp.RequestID, name)
	}
	require.Empty(t, f.layer.requests(), "the CSE saw a foreign Originator")
	require.EqualValues(t, 14, f.bridge.Stats().Refusals[RefusedOriginator])
	require.Equal(t, 14, strings.Count(audit.String(), "reason="+string(RefusedOriginator)), "each is in the log")
	require.NotContains(t, audit.String(), "Cmeter2", "which names nobody (S46)")

	_, resp := f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in", From: "Cfleet-8", RequestID: "r", ReleaseVersion: "3"})
	require.Equal(t, onem2m.StatusOK, resp.Status, "the wildcard covers what nobody else was given")
}

// TestB01SpellingsOfAnother: a wildcard covers no spelling of an AE-ID that is another device's.
func TestB01SpellingsOfAnother(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "gw", Originators: []string{"*", "/*", "/other-cse/*"}}, func(c *Config) { c.CSEs[0].As = "/mn-1" })
	require.NoError(t, f.directory.Bind(psk("victim").ID, "in", "Cvictim", Access{}))
	status := func(from string) onem2m.StatusCode {
		_, resp := f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in", From: from, RequestID: "1", ReleaseVersion: "3"})
		return resp.Status
	}
	for _, from := range []string{"Cvictim", "/id-in/Cvictim", "//sp.example/id-in/Cvictim", "/mn-1/Cvictim", "//sp.example/mn-1/Cvictim",
		"/id-in/Cfree", "/mn-1/Cfree", "/S1", "other/Cx"} {
		require.Equal(t, onem2m.StatusOriginatorNotAuthenticated, status(from), from)
	}
	require.Empty(t, f.layer.requests())
	require.Equal(t, onem2m.StatusOK, status("/other-cse/Cx"), "another CSE's AE, which the entry covers")
	require.Equal(t, onem2m.StatusOK, status("Cfree"))
}

// TestB02RegistrationTellsAEID: an AE CREATE goes up only when its answer will tell the AE-ID that has to be bound.
func TestB02RegistrationTellsAEID(t *testing.T) {
	t.Parallel()
	create := onem2m.Request{Operation: onem2m.Create, ResourceType: onem2m.TypeAE, To: "cse-in", From: "C", RequestID: "1",
		ReleaseVersion: "3", Content: []byte(`{"m2m:ae":{}}`), MediaType: "application/json"}
	mn := func(c *Config) { c.CSEs[0].As = "/mn-1" }
	for name, c := range map[string]struct {
		edit    func(*onem2m.Request)
		cfg     []func(*Config)
		refused bool
	}{
		"as usual":        {func(*onem2m.Request) {}, nil, false},
		"rcn 1":           {func(r *onem2m.Request) { r.Query = []onem2m.Parameter{{Key: "rcn", Value: "1"}} }, nil, false},
		"rcn 0":           {func(r *onem2m.Request) { r.Query = []onem2m.Parameter{{Key: "rcn", Value: "0"}} }, nil, true},
		"rcn 2":           {func(r *onem2m.Request) { r.Query = []onem2m.Parameter{{Key: "rcn", Value: "2"}} }, nil, true},
		"non-blocking":    {func(r *onem2m.Request) { r.ResponseType = onem2m.NonBlockingSynch }, nil, true},
		"flex":            {func(r *onem2m.Request) { r.ResponseType = onem2m.FlexBlocking }, nil, true},
		"MN-CSE, asks":    {func(*onem2m.Request) {}, []func(*Config){mn}, true},
		"MN-CSE, has one": {func(r *onem2m.Request) { r.From = "Cd" }, []func(*Config){mn}, false},
	} {
		f := start(t, Device{Name: "d", Originators: []string{"C*"}}, c.cfg...)
		f.layer.answer = func(_ context.Context, r *onem2m.Request) (*onem2m.Response, error) {
			resp := ok(r, onem2m.StatusCreated)
			resp.Content, resp.MediaType = []byte(`{"m2m:ae":{"aei":"Cd"}}`), "application/json"
			return resp, nil
		}
		r := create
		c.edit(&r)
		_, resp := f.oneM2M(&r)
		if c.refused {
			require.Equal(t, onem2m.StatusNotImplemented, resp.Status, name)
			require.Empty(t, f.layer.requests(), name)
			continue
		}
		require.Equal(t, onem2m.StatusCreated, resp.Status, name)
	}
}

// TestB06IndirectTargets: what a restricted device may not reach it does not reach by a group or a primitive for later.
func TestB06IndirectTargets(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "d", Originators: []string{"Cd"}, Targets: []string{"cse-in/Cd"}})
	later := []byte(`{"m2m:actr":{"apv":{"op":4,"to":"cse-in/other","fr":"Cd","rqi":"x"}}}`)
	for _, r := range []*onem2m.Request{
		{Operation: onem2m.Retrieve, To: "cse-in/Cd/g/fopt"},
		{Operation: onem2m.Delete, To: "cse-in/Cd/g/fopt/c"},
		{Operation: onem2m.Create, ResourceType: 65, To: "cse-in/Cd", Content: later, MediaType: "application/json"},
	} {
		r.From, r.RequestID, r.ReleaseVersion = "Cd", "1", "3"
		_, resp := f.oneM2M(r)
		require.Equal(t, onem2m.StatusNotFound, resp.Status, r.To)
	}
	require.Empty(t, f.layer.requests())
	f = start(t, oneM2MDevice)
	_, resp := f.oneM2M(&onem2m.Request{Operation: onem2m.Retrieve, To: "cse-in/Cd/g/fopt", From: "Cd", RequestID: "1", ReleaseVersion: "3"})
	require.Equal(t, onem2m.StatusOK, resp.Status, "a device without restrictions")

	f = start(t, oneM2MDevice, func(c *Config) { c.CSEs[0].As = "/mn-1" })
	_, resp = f.oneM2M(&onem2m.Request{Operation: onem2m.Create, ResourceType: 65, To: "cse-in/Cd", From: "Cd", RequestID: "1",
		ReleaseVersion: "3", Content: later, MediaType: "application/json"})
	require.Equal(t, onem2m.StatusOriginatorNotAuthenticated, resp.Status, "inside, a bare AE-ID would be the CSE's own")
}

// TestB06OperationAndTargetOutsidePolicy: refused as if it did not exist (B06).
func TestB06OperationAndTargetOutsidePolicy(t *testing.T) {
	t.Parallel()
	f := start(t, Device{Name: "d", Originators: []string{"Cd"}, Operations: 1 << onem2m.Retrieve, Targets: []string{"cse-in/Cd"}})
	for _, r := range []*onem2m.Request{
		{Operation: onem2m.Delete, To: "cse-in/Cd"},
		{Operation: onem2m.Retrieve, To: "cse-in/other"},
		{Operation: onem2m.Retrieve, To: "/id-in/cse-in/other"},
	} {
		r.From, r.RequestID, r.ReleaseVersion = "Cd", "1", "3"
		answer, resp := f.oneM2M(r)
		require.Equal(t, "4.04", answer.Code.String())
		require.Equal(t, onem2m.StatusNotFound, resp.Status)
	}
	require.Empty(t, f.layer.requests())
}
