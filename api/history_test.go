package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestHistory(t *testing.T) {
	node := newFake()
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	node.past = sharelock.History{Complete: true, Entries: []sharelock.PastHold{
		{Token: 9, ClientID: "b", Acquired: begin.Add(time.Minute)},
		{
			Token: 8, ClientID: "a", Principal: "p", Mode: sharelock.Shared, Acquired: begin, Waited: 1500 * time.Millisecond, WaitKnown: true,
			Ended: begin.Add(time.Second), End: sharelock.EndForced, By: "ops",
		},
	}}
	handler := NewHTTP(node, Options{}).Handler
	w := exchange(t, handler, http.MethodGet, "/v1/history/a/b?from=2026-01-02T03:04:05Z&to=2026-01-02T03:05:05.5Z&limit=7", "")
	for _, want := range []string{`"token":"8"`, `"waited":"1.500s"`, `"end":"FORCED"`, `"by":"ops"`, `"mode":"SHARED"`, `"complete":true`, `"endedAt":"2026-01-02T03:04:06Z"`} {
		if got := strings.ReplaceAll(w.Body.String(), " ", ""); w.Code != http.StatusOK || !strings.Contains(got, want) {
			t.Errorf("%d %s lacks %s", w.Code, got, want)
		}
	}
	if want := (sharelock.HistoryRequest{Key: "a/b", From: begin, To: begin.Add(60500 * time.Millisecond), Limit: 7}); node.asked != want {
		t.Errorf("asked %+v", node.asked)
	}
	for _, bad := range []string{"from=yesterday", "to=1", "limit=-1", "limit=1001", "limit=x", "from=2026-01-02T03:04:05Z&to=2025-01-02T03:04:05Z", "since=1"} {
		if w := exchange(t, handler, http.MethodGet, "/v1/history/k?"+bad, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
	c := dialFake(t, node, Options{})
	h, err := pb.NewLockServiceClient(c.conn).History(t.Context(), &pb.HistoryRequest{Key: "k"})
	if err != nil || len(h.GetEntries()) != 2 || h.GetEntries()[0].GetWaited() != nil || node.asked.Limit != 0 || !node.asked.From.IsZero() {
		t.Errorf("%v, %v, asked %+v", h, err, node.asked)
	}
	if _, err := pb.NewLockServiceClient(c.conn).History(t.Context(), &pb.HistoryRequest{Key: "k", From: &timestamppb.Timestamp{Nanos: -1}}); err == nil {
		t.Error("a time out of range is taken")
	}
}

// The client id of the caller of a forced release is sent to the owner.
func TestForceNamesItsCaller(t *testing.T) {
	node := newFake()
	handler := NewHTTP(node, Options{}).Handler
	exchange(t, handler, http.MethodPost, "/v1/locks/k", `{"clientId":"a"}`)
	exchange(t, handler, http.MethodDelete, "/v1/locks/k?token=0&force=true", "", clientIDHeader, "ops@laptop")
	if got := node.forcedBy; got != "ops@laptop" {
		t.Errorf("forced by %q", got)
	}
}
