package main

import (
	"github.com/spf13/cobra"

	"coapbridge/cmd/coap-load/load"
)

// requestFlags say which request is sent.
type requestFlags struct {
	request load.Request
	payload string
}

func (f *requestFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.request.Method, "method", "m", "GET", "GET, POST, PUT, DELETE or FETCH")
	flags.StringVar(&f.request.Path, "path", "/.well-known/core", "Uri-Path")
	flags.StringArrayVar(&f.request.Query, "query", nil, "Uri-Query; repeat it")
	flags.StringVarP(&f.payload, "payload", "e", "", "payload")
	flags.IntVarP(&f.request.Format, "content-format", "t", -1, "Content-Format of the payload")
	flags.StringVar(&f.request.Host, "uri-host", "", "Uri-Host")
	flags.StringVar(&f.request.Proxy, "proxy-scheme", "", "Proxy-Scheme: the server is to ask another one")
	flags.StringVar(&f.request.From, "from", "", "oneM2M Originator; with it the request is a oneM2M request (TS-0008)")
}

func (f *requestFlags) get() load.Request {
	f.request.Payload = []byte(f.payload)
	return f.request
}
