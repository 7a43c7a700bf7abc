package cse

import "coapbridge/bridge/onem2m"

// Quirk is a departure from TS-0009 that some CSE needs. The standard is the default; a configuration switches quirks on
// for one CSE by their names.
type Quirk struct {
	Name string
	// Observation says at which CSE the need was seen, and how.
	Observation string

	apply func(*CSE)
}

// Quirks returns all of them.
func Quirks() []Quirk {
	return []Quirk{
		{
			Name: "needs-rvi",
			Observation: "ACME 2026.05.1 answers a request without X-M2M-RVI, which is one of Release 1, with 501 and RSC 4001; " +
				"Mobius4 and tinyIoT take it. Such a request goes up as one of release " + firstRelease + ", the first that has the parameter.",
			apply: func(c *CSE) { c.NeedsRVI = true },
		},
		{
			Name: "errors-to-none",
			Observation: "ACME 2026.5.3 answers a body that it can't parse with X-M2M-RI: None, so that the error belongs to no request " +
				"and is 5.02 for the device. With this switch such an error is taken; a success is not.",
			apply: func(c *CSE) { c.ErrorsToNone = true },
		},
		{
			Name: "tokens-in-query",
			Observation: "ACME reads Authorization as HTTP's own Basic or Bearer credentials, so oneM2M Tokens can't travel there. " +
				"They go up as tkns in the query, as in TS-0008.",
			apply: func(c *CSE) { c.Binding.TokensInQuery = true },
		},
		{
			Name: "authorization-taken",
			Observation: "A proxy or CSE that takes Authorization for itself would drop or misread oneM2M Tokens, and knows no tkns either. " +
				"A request with Tokens is refused with RSC 5001.",
			apply: func(c *CSE) { c.Binding.AuthorizationTaken = true },
		},
		{
			Name: "no-token",
			Observation: "tinyIoT 832205f drops the path of a pointOfAccess, and with it the token by which the bridge knows whom a request is " +
				"for: a verification goes to TinyIoT/tt/c, a notification to /. With this switch a request whose To is an AE-ID that is " +
				"bound to a device of this CSE reaches it without a token. What names nobody, as a notification to /, stays refused.",
			apply: func(c *CSE) { c.NoToken = true },
		},
		{
			Name: "unconditional",
			Observation: "ACME 2026.05.1 and tinyIoT read no If-Match and no If-None-Match, and would change what a device wanted changed " +
				"under a condition only. Such a request is refused with RSC 5001.",
			apply: func(c *CSE) { c.Binding.Unconditional = true },
		},
	}
}

// firstRelease is the first release with a Release Version Indicator.
const firstRelease = "2a"

// Apply switches quirks on; the first name that is unknown is returned with ok false.
func (c *CSE) Apply(names ...string) (unknown string, ok bool) {
	known := map[string]Quirk{}
	for _, q := range Quirks() {
		known[q.Name] = q
	}
	for _, name := range names {
		q, found := known[name]
		if !found {
			return name, false
		}
		q.apply(c)
	}
	return "", true
}

// adapted is r as the CSE needs it; r itself is not changed.
func (t *target) adapted(r *onem2m.Request) *onem2m.Request {
	if !t.NeedsRVI || r.ReleaseVersion != "" {
		return r
	}
	other := *r
	other.ReleaseVersion = firstRelease
	return &other
}
