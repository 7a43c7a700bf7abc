package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"
	"golang.org/x/net/ipv4"

	"coapbridge/bridge/cse/csetest"
	"coapbridge/cmd/coap-bridge/config"
)

func newEchoCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use: "echo", Short: "A UDP server that answers each datagram with one HMAC: the floor for a cookie", Args: cobra.NoArgs,
		Long: `Answer each datagram with 60 bytes, over which and over the sender's address one HMAC-SHA-256 is made. Nothing that answers a
ClientHello with a cookie can cost less on this machine. Point "coap-load flood" at it, and compare.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := net.ListenPacket("udp4", listen)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), conn.LocalAddr())
			stop := closeWhenDone(cmd, conn)
			defer stop()
			return echo(conn)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "UDP address")
	return cmd
}

// closeWhenDone closes c when the command is to end.
func closeWhenDone(cmd *cobra.Command, c interface{ Close() error }) (stop func()) {
	ended := make(chan struct{})
	go func() {
		select {
		case <-cmd.Context().Done():
			_ = c.Close()
		case <-ended:
		}
	}()
	return func() { close(ended) }
}

// The shape of an echo: a HelloVerifyRequest with a cookie of 32 bytes has 60 bytes.
const (
	echoBatch = 64
	echoBytes = 60
	echoMark  = 0xec
)

// echo answers until conn is closed.
func echo(conn net.PacketConn) error {
	p := ipv4.NewPacketConn(conn)
	if udp, ok := conn.(*net.UDPConn); ok {
		_ = udp.SetReadBuffer(4 << 20) // what the system doesn't allow is less
		_ = udp.SetWriteBuffer(4 << 20)
	}
	in := make([]ipv4.Message, echoBatch)
	out := make([]ipv4.Message, echoBatch)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 2048)}
		out[i].Buffers = [][]byte{make([]byte, echoBytes)}
		out[i].Buffers[0][0] = echoMark
	}
	mac := hmac.New(sha256.New, make([]byte, 32))
	for {
		n, err := p.ReadBatch(in, 0)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		for i := range max(n, 0) {
			from, _ := in[i].Addr.(*net.UDPAddr)
			mac.Reset()
			mac.Write(from.IP)
			mac.Write(in[i].Buffers[0][:in[i].N])
			mac.Sum(out[i].Buffers[0][:echoBytes-sha256.Size])
			out[i].Addr = from
		}
		for done := 0; done < n; {
			sent, err := p.WriteBatch(out[done:n], 0)
			if err != nil {
				sent = 1
			}
			done += max(sent, 1)
		}
	}
}

func newCSECommand() *cobra.Command {
	var listen, ca string
	var own config.KeyPair
	cmd := &cobra.Command{
		Use: "cse", Short: "A CSE in memory behind mutual TLS, for a bridge to be measured with", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pair, err := config.LoadKeyPair(own)
			if err != nil {
				return err
			}
			clients, _, err := config.LoadPool(ca)
			if err != nil {
				return err
			}
			service := csetest.New(csetest.Config{
				Certificate: tls.Certificate{Certificate: pair.Chain, PrivateKey: pair.Key, Leaf: pair.Leaf}, ClientCAs: clients, Record: -1,
			})
			defer service.Close()
			url, err := service.Start(listen)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), url)
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "TCP address")
	cmd.Flags().StringVar(&own.Chain, "cert", "", "its certificate (PEM)")
	cmd.Flags().StringVar(&own.Key, "key", "", "its key (PEM)")
	cmd.Flags().StringVar(&ca, "ca", "", "CA of its clients (PEM)")
	return cmd
}
