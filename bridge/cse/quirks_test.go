package cse

import (
	"testing"

	"github.com/stretchr/testify/require"

	"coapbridge/bridge/onem2m"
)

// TestQuirks: each has a name of its own and says where it was seen; the standard is the default.
func TestQuirks(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, q := range Quirks() {
		require.NotEmpty(t, q.Observation, q.Name)
		require.False(t, seen[q.Name], q.Name)
		seen[q.Name] = true
		var c CSE
		_, ok := c.Apply(q.Name)
		require.True(t, ok)
		require.NotEqual(t, CSE{}.NeedsRVI, c.NeedsRVI || c.ErrorsToNone || c.NoToken || c.Binding != onem2m.HTTPProfile{}, "%s switches nothing", q.Name)
	}
	unknown, ok := new(CSE).Apply("needs-rvi", "no-such-quirk")
	require.False(t, ok)
	require.Equal(t, "no-such-quirk", unknown)
}

// TestErrorsToNone: an error to the Request Identifier None is taken, and nothing else that is not to ours.
func TestErrorsToNone(t *testing.T) {
	t.Parallel()
	r := &onem2m.Request{Operation: onem2m.Create, RequestID: "r"}
	judge := func(quirk bool, status int, rsc, id string) error {
		answer := &onem2m.HTTPResponse{Status: status, Header: []onem2m.HeaderField{{Name: "X-M2M-RSC", Value: rsc}, {Name: "X-M2M-RI", Value: id}}}
		_, err := (&target{CSE: CSE{ErrorsToNone: quirk}}).judge(answer, r)
		if err == nil {
			return nil
		}
		return err
	}
	require.NoError(t, judge(true, 400, "4000", "None"))
	require.NoError(t, judge(true, 400, "4000", "r"))
	require.Error(t, judge(false, 400, "4000", "None"))
	require.Error(t, judge(true, 400, "4000", "other"))
	require.Error(t, judge(true, 201, "2001", "None"))
}

// TestNeedsRVI: a request of Release 1 goes up as one of 2a, and any other as it is.
func TestNeedsRVI(t *testing.T) {
	t.Parallel()
	without, with := &onem2m.Request{}, &onem2m.Request{ReleaseVersion: "4"}
	quirky := &target{CSE: CSE{NeedsRVI: true}}
	require.Equal(t, "2a", quirky.adapted(without).ReleaseVersion)
	require.Empty(t, without.ReleaseVersion)
	require.Same(t, with, quirky.adapted(with))
	require.Same(t, without, new(target).adapted(without))
}
