package sessionwire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/protofield"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// The fields of a [SessionResponse] that are about watches.
const (
	eventsField  = 9
	watchesField = 10
)

// readWatch decodes the fields of a [SessionWatch].
func (k *Keep) readWatch(body []byte) error {
	k.Watch = &sharelock.WatchRequest{}
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		switch {
		case err != nil:
			return err
		case f.Num == 1 && f.Typ == protowire.VarintType:
			k.ID = f.V
		case f.Num == 2 && f.Typ == protowire.BytesType:
			if err := readWatchRequest(k.Watch, f.B); err != nil {
				return err
			}
		case f.Num == 3 && f.Typ == protowire.VarintType:
			k.Events = f.Uint32()
		}
	}
	return nil
}

// readRead decodes a [SessionRead].
func (k *Keep) readRead(body []byte) (err error) {
	k.ID, k.Events, err = readCount(body)
	return err
}

func (k *Keep) appendRead(b []byte) []byte {
	b, at := protofield.Open(b, protowire.Number(KeepRead))
	b = protofield.AppendUint(b, 1, k.ID)
	b = protofield.AppendUint(b, 2, uint64(k.Events))
	return protofield.Shut(b, at)
}

func readWatchRequest(w *sharelock.WatchRequest, body []byte) error {
	for len(body) > 0 {
		f, err := protofield.Next(&body)
		switch {
		case err != nil:
			return err
		case f.Typ != protowire.BytesType:
		case f.Num == 1:
			w.Key = string(f.B)
		case f.Num == 2:
			w.Prefix = string(f.B)
		case f.Num == 3:
			w.Resume = string(f.B)
		}
	}
	return nil
}

func (k *Keep) appendWatch(b []byte) []byte {
	b, outer := protofield.Open(b, protowire.Number(KeepWatch))
	b = protofield.AppendUint(b, 1, k.ID)
	b, inner := protofield.Open(b, 2)
	b = protofield.AppendString(b, 1, k.Watch.Key)
	b = protofield.AppendString(b, 2, k.Watch.Prefix)
	b = protofield.AppendString(b, 3, k.Watch.Resume)
	b = protofield.AppendUint(protofield.Shut(b, inner), 3, uint64(k.Events))
	return protofield.Shut(b, outer)
}

// AppendWatches appends to a [SessionResponse] that the node takes watches.
func AppendWatches(b []byte) []byte { return protofield.AppendUint(b, watchesField, 1) }

// AppendEvents appends events of a watch to a [SessionResponse], as many of n as fit into a message of limit
// bytes, and returns how many. If the message is empty, it appends at least one. appendEvent appends an event
// as a [sharelockv1.WatchEvent].
func AppendEvents(b []byte, id uint64, n, limit int, appendEvent func(b []byte, i int) []byte) (message []byte, taken int) {
	const moreLength = 2 // Shut may make the length this much longer than Open has made it
	before := len(b)
	b, at := protofield.Open(b, eventsField)
	b = protofield.AppendUint(b, 1, id)
	for ; taken < n; taken++ {
		end := len(b)
		event, start := protofield.Open(b, 2)
		b = protofield.Shut(appendEvent(event, taken), start)
		if len(b)+moreLength > limit && before+taken > 0 {
			b = b[:end]
			break
		}
	}
	if taken == 0 {
		return b[:before], 0
	}
	return protofield.Shut(b, at), taken
}

// AppendWatchEnd appends to a [SessionResponse] that a watch has ended; status is a google.rpc.Status in
// its wire format.
func AppendWatchEnd(b []byte, id uint64, status []byte) []byte {
	b, at := protofield.Open(b, eventsField)
	b = protofield.AppendUint(b, 1, id)
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendBytes(b, status)
	return protofield.Shut(b, at)
}

// ReadEvents decodes a [SessionEvents]: what a watch tells, or the status with which it has ended, or nil.
func ReadEvents(data []byte) (list []sharelock.Event, status []byte, err error) {
	var m sharelockv1.SessionEvents
	if err := proto.Unmarshal(data, &m); err != nil {
		return nil, nil, err
	}
	for _, e := range m.GetEvents() {
		list = append(list, sharelockv1.EventFromProto(e))
	}
	return list, m.GetEnded(), nil
}

// readEvents decodes of which watch Events are, and whether that has ended.
func (k *Kept) readEvents() error {
	for body := k.Events; len(body) > 0; {
		f, err := protofield.Next(&body)
		switch {
		case err != nil:
			return err
		case f.Num == 1 && f.Typ == protowire.VarintType:
			k.ID = f.V
		case f.Num == 3 && f.Typ == protowire.BytesType:
			k.Over = true
		}
	}
	return nil
}
