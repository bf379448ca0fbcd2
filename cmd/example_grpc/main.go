// Command example_grpc acquires and releases a lock over the original gRPC API, which every node
// still serves. New programs use package client.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	sharelockpb "github.com/sgkandale/sharelock/proto/sharelock"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:50052", "gRPC address of any node")
	key := flag.String("key", "example", "key to lock")
	client := flag.String("client", "example_grpc", "client id")
	flag.Parse()
	if err := run(os.Stdout, *addr, *key, *client); err != nil {
		fmt.Fprintln(os.Stderr, "example_grpc:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, addr, key, client string) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	locks := sharelockpb.NewShareLockServiceClient(conn)

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// The API identifies the holder of a lock by this name only.
	ctx = metadata.AppendToOutgoingContext(ctx, "x-client-id", client)

	pong, err := locks.Ping(ctx, &sharelockpb.ShareLockPingRequest{Message: "ping"})
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	fmt.Fprintln(out, "ping:  ", pong.GetMessage())

	locked, err := locks.Lock(ctx, &sharelockpb.LockRequest{Key: key, TimeoutMs: 10_000})
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	fmt.Fprintln(out, "lock:  ", locked.GetStatus())
	if locked.GetStatus() != sharelockpb.Status_Acquired {
		return fmt.Errorf("lock: not acquired: %v", locked.GetStatus())
	}

	unlocked, err := locks.Unlock(ctx, &sharelockpb.UnlockRequest{Key: key})
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	fmt.Fprintln(out, "unlock:", unlocked.GetStatus())
	return nil
}
