package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/sgkandale/sharelock"
)

// healthz answers that the process is alive, whether or not it is ready.
func (s *httpAPI) healthz(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, []byte(`{"status":"ok"}`))
}

// readyz answers whether this node may serve locks, and why not. With ?copies=1 a node also counts as
// not ready while another node must not be stopped: while copies are missing or in quarantine, or the
// seat of a dead voter waits for a live member.
func (s *httpAPI) readyz(w http.ResponseWriter, r *http.Request) {
	err := s.ready()
	st := s.meshes.node.Status()
	if err == nil && r.URL.Query().Get("copies") == "1" {
		err = missing(st)
	}
	if s.gate.Authenticates() { // everyone may ask, so the answer has no details
		err, st = reasonOnly(err), sharelock.MeshState{}
	}
	if err != nil {
		s.fail(w, r, err, nil)
		return
	}
	s.write(w, http.StatusOK, readiness(st))
}

// reasonOnly returns an error without its details about this node.
func reasonOnly(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*sharelock.Error](err)
	if !ok {
		return sharelock.ErrNotReady
	}
	return &sharelock.Error{Err: e.Err, RetryAfter: e.RetryAfter}
}

// missing returns why another node should not be stopped now, or nil.
func missing(st sharelock.MeshState) error {
	var why string
	switch {
	case st.Quarantined > 0:
		why = "partitions are in quarantine"
	case st.CopiesMissing > 0:
		why = "copies are missing"
	case st.SeatWaits:
		why = "the seat of a dead voter waits for a member"
	default:
		return nil
	}
	for _, c := range st.Conditions {
		if c.Code == "quarantine" || c.Code == "copies-missing" || c.Code == "seat-waits" {
			why = c.Message
			break
		}
	}
	return &sharelock.Error{Err: sharelock.ErrNotReady, Message: why, RetryAfter: time.Second}
}

// readiness returns the answer of readyz for a node that is ready. It also names conditions that an
// operator should know.
func readiness(st sharelock.MeshState) []byte {
	var absent, conditions []string
	for _, seat := range st.Seats {
		if seat.Absent {
			absent = append(absent, cmp.Or(seat.Name, seat.ID))
		}
	}
	for _, c := range st.Conditions {
		conditions = append(conditions, c.Message)
	}
	if len(absent) == 0 && st.DiskError == "" && len(conditions) == 0 {
		return []byte(`{"status":"ready"}`)
	}
	b, err := json.Marshal(struct {
		Status     string   `json:"status"`
		Absent     []string `json:"absentSeats,omitempty"`
		Survives   int      `json:"survivableLosses"`
		Disk       string   `json:"diskError,omitempty"`
		Conditions []string `json:"conditions,omitempty"`
	}{"ready", absent, st.Survives, st.DiskError, conditions})
	if err != nil {
		return []byte(`{"status":"ready"}`) // cannot happen: the fields are strings and a number
	}
	return b
}
