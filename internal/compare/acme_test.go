//go:build interop

package compare

import (
	"testing"

	"coapbridge/internal/acme"
	"coapbridge/internal/testpki"
)

func TestInteropCompareACME(t *testing.T) {
	t.Parallel()
	ca := testpki.NewCA(t, "ACME")
	cse := acme.Start(t, ca)
	device, http := twins(t, cse.URL, ca, testpki.NewCA(t, "bridge"), false)
	all := run(t, rows(), device, http, func() string { return "" })
	judge(t, all, acmeDifferences())
}
