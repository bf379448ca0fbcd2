package main

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	sharelockpb "github.com/sgkandale/sharelock/proto/sharelock"
)

// server answers as a node does, and gives the key to one client only.
type server struct {
	sharelockpb.UnimplementedShareLockServiceServer
	holder string
}

func (s *server) Ping(context.Context, *sharelockpb.ShareLockPingRequest) (*sharelockpb.ShareLockPingResponse, error) {
	return &sharelockpb.ShareLockPingResponse{Message: "pong"}, nil
}

func (s *server) Lock(ctx context.Context, req *sharelockpb.LockRequest) (*sharelockpb.LockResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	client := strings.Join(md.Get("x-client-id"), "")
	if req.GetKey() != "k" || client == "" || s.holder != "" {
		return &sharelockpb.LockResponse{Status: sharelockpb.Status_Timeout}, nil
	}
	s.holder = client
	return &sharelockpb.LockResponse{Status: sharelockpb.Status_Acquired}, nil
}

func (s *server) Unlock(context.Context, *sharelockpb.UnlockRequest) (*sharelockpb.UnlockResponse, error) {
	s.holder = ""
	return &sharelockpb.UnlockResponse{Status: sharelockpb.Status_Released}, nil
}

func TestRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, s := grpc.NewServer(), &server{}
	sharelockpb.RegisterShareLockServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()

	var out strings.Builder
	if err := run(&out, l.Addr().String(), "k", "me"); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "ping:   pong\nlock:   Acquired\nunlock: Released\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.holder = "somebody"
	if err := run(&out, l.Addr().String(), "k", "me"); err == nil {
		t.Error("a lock that was not acquired is no error")
	}
}
