package sharelockv1

import (
	"reflect"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// What a node says of the mesh comes back as it went, field by field.
func TestMeshConversion(t *testing.T) {
	full := sharelock.MeshState{
		Cluster: "c", Node: "a", Epoch: 7, Leader: "b", LeaseValid: true, LeaseRemaining: time.Second,
		Partitions: 1024, Replicas: 2, Quarantined: 3, Active: 4, Release: 5, Survives: 6, DiskError: "full", AuthHash: "h", AuditDropped: 11, CopiesMissing: 12, SeatWaits: true,
		Members: []sharelock.Member{{
			Name: "a", ID: "1", Incarnation: "2", Voter: true, Leaving: true, Owns: 8, Backs: 9,
			HTTP: "h", GRPC: "g", Peer: "p", Release: 10, Silent: true, AuthHash: "h",
		}},
		Stalls:     []sharelock.Stall{{Member: "b", Waiting: time.Minute}},
		Seats:      []sharelock.Seat{{Name: "b", ID: "3", Absent: true, Silent: true, Peer: "p"}},
		Conditions: []sharelock.Condition{{Code: "no-quorum", Subject: "b", Severe: true, Lasting: time.Second, Message: "m"}},
	}
	for _, s := range []sharelock.MeshState{{}, full} {
		if got := MeshFromProto(MeshToProto(s)); !reflect.DeepEqual(got, s) {
			t.Errorf("got %+v, want %+v", got, s)
		}
	}
	// A field that is added must be set above.
	for _, v := range []any{full, full.Members[0], full.Stalls[0], full.Seats[0], full.Conditions[0]} {
		for i, v := 0, reflect.ValueOf(v); i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("%v.%s is not set", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	where := sharelock.Location{Key: "k", Partition: 17, Owner: "a", Backups: []string{"b"}, Epoch: 7}
	for _, l := range []sharelock.Location{{}, where} {
		if got := LocationFromProto(LocationToProto(l)); !reflect.DeepEqual(got, l) {
			t.Errorf("got %+v, want %+v", got, l)
		}
	}
	if got := MeshFromProto(nil); !reflect.DeepEqual(got, sharelock.MeshState{}) {
		t.Errorf("nil gives %+v", got)
	}
}

// The gossip keys of a mesh come back as they went.
func TestKeyringConversion(t *testing.T) {
	full := sharelock.Keyring{
		Keys:    []sharelock.GossipKey{{Fingerprint: "f", Key: "k", Installed: 3, Primary: 2}},
		Members: []sharelock.KeyringMember{{Name: "a", Encryption: "required", FromFile: true, Err: "e"}},
	}
	for _, k := range []sharelock.Keyring{{}, full} {
		if got := KeyringFromProto(KeyringToProto(k)); !reflect.DeepEqual(got, k) {
			t.Errorf("got %+v, want %+v", got, k)
		}
	}
	for _, v := range []any{full, full.Keys[0], full.Members[0]} {
		for i, v := 0, reflect.ValueOf(v); i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("%v.%s is not set", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	for action := range KeyringAction_name {
		c := KeyringChangeFromProto(&ChangeKeyringRequest{Action: KeyringAction(action), GossipKey: "k", WithoutAbsent: true})
		if want := (sharelock.KeyringChange{Action: sharelock.KeyringAction(action), Key: "k", WithoutAbsent: true}); c != want {
			t.Errorf("action %d is %+v, want %+v", action, c, want)
		}
	}
}
