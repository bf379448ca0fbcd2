package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gorilla/mux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock/internal/workload"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// echo returns a server of ShareLock's messages that does nothing: empty handlers of grpc-go and
// gorilla/mux answer every acquire with the same grant. The difference to ShareLock is ShareLock's
// own cost.
func echo() system {
	return system{"empty grpc-go and gorilla/mux", "nothing", func(ctx context.Context, b binaries, dir string) (*service, error) {
		addrs, err := freeAddrs(2)
		if err != nil {
			return nil, err
		}
		p, err := startProcess(dir, "echo", nil, b.self, "echo", addrs[0], addrs[1])
		if err != nil {
			return nil, err
		}
		s := &service{procs: []*process{p}, addrs: addrs[:1], http: addrs[1]}
		if err := ready(ctx, s.procs, func(ctx context.Context) error { return getOK(ctx, "http://"+s.http+"/readyz") }); err != nil {
			s.stop()
			return nil, err
		}
		return s, nil
	}}
}

// serveEcho runs the process of echo.
func serveEcho(grpcAddr, httpAddr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	gl, err := net.Listen("tcp", grpcAddr)
	if err != nil {
		return err
	}
	hl, err := net.Listen("tcp", httpAddr)
	if err != nil {
		return err
	}
	gs := grpc.NewServer()
	sharelockv1.RegisterLockServiceServer(gs, echoServer{})
	hs := &http.Server{Handler: echoRoutes(), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 2)
	go func() { ended <- gs.Serve(gl) }()
	go func() { ended <- hs.Serve(hl) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	gs.Stop()
	return errors.Join(err, hs.Close())
}

type echoServer struct {
	sharelockv1.UnimplementedLockServiceServer
}

// echoHold is a grant with the size of a real one.
func echoHold(key string) *sharelockv1.Hold {
	ttl := durationpb.New(lockTTL)
	return &sharelockv1.Hold{
		Key: key, Token: 256460173377011712, ClientId: "bench", RequestId: "0123456789abcdef", Ttl: ttl, ExpiresIn: ttl, SafeFor: ttl, Node: "node0",
	}
}

// Acquire implements sharelockv1.LockServiceServer.
func (echoServer) Acquire(_ context.Context, req *sharelockv1.AcquireRequest) (*sharelockv1.AcquireResponse, error) {
	return &sharelockv1.AcquireResponse{Hold: echoHold(req.GetKey())}, nil
}

// Release implements sharelockv1.LockServiceServer.
func (echoServer) Release(_ context.Context, req *sharelockv1.ReleaseRequest) (*sharelockv1.ReleaseResponse, error) {
	return &sharelockv1.ReleaseResponse{Hold: echoHold(req.GetKey())}, nil
}

func echoRoutes() http.Handler {
	r := mux.NewRouter().UseEncodedPath()
	r.Path("/v1/locks/{key:.*}").Methods(http.MethodPost, http.MethodDelete).HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var msg sharelockv1.AcquireRequest
		body, err := io.ReadAll(req.Body)
		if err == nil && len(body) > 0 {
			err = protojson.Unmarshal(body, &msg)
		}
		out, marshaling := protojson.Marshal(&sharelockv1.AcquireResponse{Hold: echoHold(mux.Vars(req)["key"])})
		if err := errors.Join(err, marshaling); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(out) // an error means that the client has gone
	})
	r.Path("/readyz").HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	return r
}

// overGRPC returns the service, called by plain unary gRPC calls without ShareLock's client.
func (s *service) overGRPC() *service {
	plain := *s
	plain.connect = func(context.Context, int) (func(int) (workload.Locker, error), func() error, error) {
		conn, err := grpc.NewClient(s.addrs[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, nil, err
		}
		c := sharelockv1.NewLockServiceClient(conn)
		ttl, wait := durationpb.New(lockTTL), durationpb.New(lockWait)
		return same(lockFunc(func(ctx context.Context, key string) (func(context.Context) error, error) {
			resp, err := c.Acquire(ctx, &sharelockv1.AcquireRequest{Key: key, ClientId: "bench", Ttl: ttl, Wait: wait})
			if err != nil {
				return nil, err
			}
			return func(ctx context.Context) error {
				_, err := c.Release(ctx, &sharelockv1.ReleaseRequest{Key: key, Token: resp.GetHold().GetToken()})
				return err
			}, nil
		})), conn.Close, nil
	}
	return &plain
}

// overHTTP returns the service, called over HTTP.
func (s *service) overHTTP() *service {
	plain := *s
	plain.connect = func(_ context.Context, workers int) (func(int) (workload.Locker, error), func() error, error) {
		transport := &http.Transport{MaxIdleConnsPerHost: workers}
		c := &http.Client{Transport: transport}
		body := fmt.Appendf(nil, `{"clientId":"bench","ttl":"%gs","wait":"%gs"}`, lockTTL.Seconds(), lockWait.Seconds())
		return same(lockFunc(func(ctx context.Context, key string) (func(context.Context) error, error) {
				at := "http://" + s.http + "/v1/locks/" + url.PathEscape(key)
				var resp sharelockv1.AcquireResponse
				if err := exchange(ctx, c, http.MethodPost, at, body, &resp); err != nil {
					return nil, err
				}
				return func(ctx context.Context) error {
					return exchange(ctx, c, http.MethodDelete, fmt.Sprintf("%s?token=%d", at, resp.GetHold().GetToken()), nil, nil)
				}, nil
			})), func() error {
				transport.CloseIdleConnections()
				return nil
			}, nil
	}
	return &plain
}

// exchange makes one HTTP call. It decodes the answer into resp unless that is nil.
func exchange(ctx context.Context, c *http.Client, method, at string, body []byte, resp *sharelockv1.AcquireResponse) error {
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := c.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", answer.Status, data)
	case resp == nil:
		return nil
	}
	return protojson.Unmarshal(data, resp)
}
