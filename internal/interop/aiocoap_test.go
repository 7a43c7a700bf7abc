//go:build interop

package interop

import (
	"fmt"
	"testing"
)

// aiocoap is aiocoap with tinydtls underneath, in a virtual environment that AIOCOAP_VENV names.
func aiocoap(t *testing.T) *peer {
	t.Helper()
	python := environment(t, "AIOCOAP_VENV") + "/bin/python"
	run := func(t *testing.T, a *attempt) *running {
		return start(t, nil, python, "peers/aiocoap_peer.py", roleName(a.role), fmt.Sprint(a.at.Port()), identity, key, greeting)
	}
	return &peer{
		name: "aiocoap, tinydtls", how: "[a program](../internal/interop/peers/aiocoap_peer.py)", dialect: speaksCoAP,
		version: asks(`Version: (\S+)`, python, "-m", "pip", "--disable-pip-version-check", "show", "aiocoap"),
		named:   func(suite) bool { return true },
		lacks: map[string]string{
			noChoice:      "it offers TLS_PSK_WITH_AES_128_CCM and _CCM_8, and neither can be had alone; it has no other",
			noCertificate: "DTLSSocket, its binding to tinydtls, takes pre-shared keys only",
			noCID:         "no Connection ID in this version of tinydtls",
		},
		client: run, server: run,
	}
}
