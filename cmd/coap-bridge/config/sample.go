package config

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:embed sample.yaml
var sample string

// SampleValues fill in the sample.
type SampleValues struct {
	CSEURL string
}

// Sample returns a commented configuration for the files that "init" makes, with paths relative to its folder.
func Sample(v SampleValues) string {
	return strings.ReplaceAll(sample, `"CSEURL"`, strconv.Quote(v.CSEURL))
}
