// Command generated takes and releases a lock with a client that was generated from openapi.yaml:
// see scripts/clients. Its argument is the URL of a node.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"example.org/generated/lockapi"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := lockapi.NewClientWithResponses(url)
	if err != nil {
		return err
	}
	const key = "generated/go"
	name, ttl := "generated-go", lockapi.DurationInput("30s")
	acquired, err := c.AcquireWithResponse(ctx, key, &lockapi.AcquireParams{}, lockapi.AcquireRequest{
		ClientId: &name, Ttl: &ttl, Metadata: &map[string]string{"why": "test"},
	})
	if err != nil {
		return err
	}
	if acquired.JSON200 == nil {
		return fmt.Errorf("acquire: %s: %s", acquired.Status(), acquired.Body)
	}
	hold := acquired.JSON200.Hold
	if hold.Key != key || hold.ClientId != name || hold.Token == "" {
		return fmt.Errorf("acquire: the hold is %+v", hold)
	}
	got, err := c.GetWithResponse(ctx, key)
	if err != nil {
		return err
	}
	if got.JSON200 == nil || len(got.JSON200.Lock.Holds) != 1 || got.JSON200.Lock.Holds[0].Token != hold.Token {
		return fmt.Errorf("get: %s: %s", got.Status(), got.Body)
	}
	// A lock that is held is an error with a reason.
	wait := lockapi.DurationInput("0s")
	held, err := c.AcquireWithResponse(ctx, key, &lockapi.AcquireParams{}, lockapi.AcquireRequest{ClientId: &name, Wait: &wait})
	if err != nil {
		return err
	}
	if held.JSON409 == nil {
		return fmt.Errorf("acquire a lock that is held: %s: %s", held.Status(), held.Body)
	}
	released, err := c.ReleaseWithResponse(ctx, key, &lockapi.ReleaseParams{Token: &hold.Token})
	if err != nil {
		return err
	}
	if released.JSON200 == nil {
		return fmt.Errorf("release: %s: %s", released.Status(), released.Body)
	}
	fmt.Printf("a client in Go took and released %s with token %s\n", key, hold.Token)
	return nil
}
