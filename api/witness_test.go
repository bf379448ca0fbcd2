package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/internal/audit"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// auditTo returns an audit log, and a function that closes it and returns its lines.
func auditTo(t *testing.T, calls bool) (log *audit.Log, lines func() []map[string]string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(audit.Config{File: file, Node: "n", Calls: calls})
	if err != nil {
		t.Fatal(err)
	}
	return log, func() (lines []map[string]string) {
		t.Helper()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // it was read only
		for s := bufio.NewScanner(f); s.Scan(); {
			line := map[string]string{}
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				t.Errorf("%s: %v", s.Bytes(), err)
			}
			lines = append(lines, line)
		}
		return lines
	}
}

// A node without an auth file also records in its audit log what was done, and by whom as far as it knows:
// over HTTP, over gRPC and in sessions.
func TestAuditWithoutAuth(t *testing.T) {
	for _, calls := range []bool{false, true} {
		log, lines := auditTo(t, calls)
		node := newFake()
		c := dialFake(t, node, Options{Audit: log})
		h := NewHTTP(node, Options{Audit: log}).Handler
		ctx := t.Context()

		if _, err := c.locks.Acquire(ctx, &pb.AcquireRequest{Key: "grpc", ClientId: "c"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.locks.ForceRelease(ctx, &pb.ForceReleaseRequest{Key: "grpc"}); err != nil {
			t.Fatal(err)
		}
		for name, open := range map[string]open{"plain": openPlain, "stream": openSession} {
			k := open(t, c, ctx)
			k.send(acquireCall(1, name, 0))
			if _, err := k.answer(); err != nil {
				t.Fatal(err)
			}
		}
		if w := exchange(t, h, "POST", "/v1/locks/http", `{"clientId":"c","ttl":"10s","wait":"0s"}`); w.Code != http.StatusOK {
			t.Fatalf("acquire: %d %s", w.Code, w.Body)
		}
		if w := exchange(t, h, "GET", "/v1/locks/http", ""); w.Code != http.StatusOK {
			t.Fatalf("get: %d %s", w.Code, w.Body)
		}
		if w := exchange(t, h, "DELETE", "/v1/locks/http?force=true", ""); w.Code != http.StatusOK {
			t.Fatalf("force: %d %s", w.Code, w.Body)
		}
		if w := exchange(t, h, "POST", "/v1/locks/http", `{"clientId":"c"}`, "Origin", "https://evil.example"); w.Code != http.StatusForbidden {
			t.Fatalf("a page of another origin: %d %s", w.Code, w.Body)
		}
		// A header that is not evaluated refuses no call.
		if w := exchange(t, h, "GET", "/v1/locks/x", "", "Authorization", "nonsense"); w.Code == http.StatusUnauthorized {
			t.Errorf("a node without an auth file refuses credentials: %s", w.Body)
		}
		c.server.Stop()

		want := []string{"forced force grpc", "forced force http", "denied  "}
		if calls {
			want = append(want, "allowed acquire grpc", "allowed acquire plain", "allowed acquire stream", "allowed acquire http")
		}
		got := map[string]int{}
		all := lines()
		for _, line := range all {
			got[line["result"]+" "+line["verb"]+" "+line["key"]]++
			if line["principal"] != "" || line["credential"] != "" || line["remote"] == "" && line["door"] != gate.DoorHTTP {
				t.Errorf("who did it: %v", line)
			}
			if line["result"] != audit.Denied && line["rule"] != "everyone: there is no auth.file" {
				t.Errorf("the rule: %v", line)
			}
		}
		for _, w := range want {
			if got[w] != 1 {
				t.Errorf("audit.calls %t: %q is in the log %d times", calls, w, got[w])
			}
		}
		if len(all) != len(want) {
			t.Errorf("audit.calls %t: %d lines, want %d: %v", calls, len(all), len(want), all)
		}
	}
}

// The audit log records what administrators do over a stream, too.
func TestAuditOfStreams(t *testing.T) {
	log, lines := auditTo(t, false)
	c := dialFake(t, newFake(), Options{Audit: log})
	stream, err := c.mesh.GetDebug(t.Context(), &pb.GetDebugRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(pb.FromError(err), sharelock.ErrInvalidArgument) {
		t.Fatal(err)
	}
	c.server.Stop()
	if got := lines(); len(got) != 1 || got[0]["verb"] != "admin" || !strings.HasSuffix(got[0]["method"], "GetDebug") || got[0]["result"] != audit.Failed {
		t.Errorf("the audit log has %v", got)
	}
}
