package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary stand in for coap-bridge, so that the scripts run what a user types.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coap-bridge": main})
}

// TestScripts runs every script of testdata/script: one file a command, with what a user types and what is answered.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_GOLDEN") != "",
	})
}
