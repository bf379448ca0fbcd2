package show

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/text"
)

// Mesh prints the members of a mesh, and what an operator should know.
func Mesh(w io.Writer, m sharelock.MeshState) error {
	lease := "none"
	if m.LeaseValid {
		lease = "valid for " + text.Short(m.LeaseRemaining)
	}
	rows := [][]string{
		{"cluster", text.OrNone(m.Cluster)},
		{"node", text.OrNone(m.Node)},
		{"epoch", number32(m.Epoch)},
		{"leader", text.OrNone(m.Leader)},
		{"lease", lease},
		{"release", number32(m.Release)},
		{"partitions", fmt.Sprintf("%d, %s; active here %d, in quarantine %d",
			m.Partitions, copies(m.Replicas), m.Active, m.Quarantined)},
	}
	if len(m.Seats) > 0 {
		rows = append(rows, []string{"voters", seats(m)})
	}
	for _, stall := range m.Stalls {
		rows = append(rows, []string{"waits for", text.OrNone(stall.Member) + ", since " + text.Short(stall.Waiting)})
	}
	if err := text.Table(w, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := text.Table(w, memberRows(m)); err != nil {
		return err
	}
	for i, c := range m.Conditions {
		if i == 0 {
			fmt.Fprintln(w)
		}
		if err := Condition(w, c); err != nil {
			return err
		}
	}
	return nil
}

// Condition prints what an operator should know, and whether it is severe.
func Condition(w io.Writer, c sharelock.Condition) error {
	level := "WARNING"
	if c.Severe {
		level = "ERROR"
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", level, text.Printable(c.Message))
	return err
}

// memberRows returns the members, and the absent voters below them.
func memberRows(m sharelock.MeshState) [][]string {
	rows := [][]string{{"MEMBER", "VOTER", "STATE", "RELEASE", "OWNS", "BACKS", "HTTP", "GRPC", "PEER", "ID"}}
	for _, member := range m.Members {
		voter, state := "no", "in"
		if member.Voter {
			voter = "yes"
		}
		switch {
		case member.Silent:
			state = "silent"
		case member.Leaving:
			state = "leaving"
		}
		rows = append(rows, []string{
			text.OrNone(member.Name), voter, state, number32(member.Release), strconv.Itoa(member.Owns), strconv.Itoa(member.Backs),
			text.OrNone(member.HTTP), text.OrNone(member.GRPC), text.OrNone(member.Peer), text.OrNone(member.ID),
		})
	}
	for _, s := range m.Seats {
		if s.Absent { // no longer a member, but the mesh counts on its vote
			state := "absent"
			if s.Silent {
				state = "dead"
			}
			rows = append(rows, []string{text.OrNone(s.Name), "yes", state, "-", "0", "0", "-", "-", text.OrNone(s.Peer), text.OrNone(s.ID)})
		}
	}
	return rows
}

// seats returns how many voters answer, and how many more may fail, as text.
func seats(m sharelock.MeshState) string {
	answering := 0
	for _, s := range m.Seats {
		if !s.Silent {
			answering++
		}
	}
	text := fmt.Sprintf("%d of %d voters answer; ", answering, len(m.Seats))
	switch {
	case answering < len(m.Seats)/2+1:
		return text + "no majority"
	case m.Survives == 0:
		return text + "none may fail"
	}
	return text + fmt.Sprintf("%d more may fail", m.Survives)
}

func copies(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return strconv.Itoa(n) + " copies"
}

func number32(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// Location prints where a key is.
func Location(w io.Writer, where sharelock.Location) error {
	backups := make([]string, len(where.Backups))
	for i, b := range where.Backups {
		backups[i] = text.Printable(b)
	}
	return text.Table(w, [][]string{
		{"key", text.Printable(where.Key)},
		{"partition", number32(where.Partition)},
		{"owner", text.OrNone(where.Owner)},
		{"backups", text.OrDash(strings.Join(backups, ", "))},
		{"epoch", number32(where.Epoch)},
	})
}
