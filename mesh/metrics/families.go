package metrics

// A Kind is the kind of a metric.
type Kind string

// The kinds.
const (
	Gauge     Kind = "gauge"
	Counter   Kind = "counter"
	Histogram Kind = "histogram"
)

// A Label is a label of a metric. Values says what its values are.
type Label struct{ Name, Values string }

// A Family describes one metric.
type Family struct {
	Name   string
	Kind   Kind
	Help   string
	Labels []Label
}

var (
	peerLabel   = Label{"peer", "the name of another member"}
	doorLabel   = Label{"door", "`http`, `grpc`, `session`, and `original` for the original's API"}
	methodLabel = Label{"method", "`acquire`, `renew`, `release`, … as in the API"}
)

// The metrics of a node. The names are promised to users.
var (
	holds       = Family{"sharelock_holds", Gauge, "Holds of the keys that this member owns.", nil}
	waiters     = Family{"sharelock_waiters", Gauge, "Requests that wait for keys that this member owns.", nil}
	oldest      = Family{"sharelock_oldest_waiter_seconds", Gauge, "How long the oldest waiter of all keys that this member owns has waited since it came to this owner; 0 if nobody waits.", nil}
	acquireWait = Family{"sharelock_acquire_wait_seconds", Histogram, "How long acquires waited in the queues of this member, by how the wait ended. An acquire that is answered at once has waited for 0.", []Label{
		{"mode", "`exclusive` or `shared`"},
		{"result", "`granted`, `held` (not obtained within its wait), `cancelled` or `error`"},
	}}
	holdTime = Family{"sharelock_hold_seconds", Histogram, "How long holds lasted that ended at this member, since it learned of the grant.", []Label{
		{"end", "`released`, `expired`, `forced` or `cancelled` (the caller had given up)"},
	}}
	handover = Family{"sharelock_handover_seconds", Histogram, "Time from the end of a hold to when the answer left that grants the key to the next waiter.", nil}
	lockEnds = Family{"sharelock_lock_ends_total", Counter, "Holds that ended at this member, by what ended them.", []Label{
		{"reason", "as `end` of `sharelock_hold_seconds`"},
	}}

	calls = Family{"sharelock_calls_total", Counter, "Calls that this node has answered.", []Label{
		methodLabel, doorLabel,
		{"code", "`OK`, or the reason of the error, for example `LOCK_HELD`"},
	}}
	callDuration = Family{"sharelock_call_duration_seconds", Histogram, "How long calls took from their arrival at this node to the answer, waits in queues included.", []Label{methodLabel, doorLabel}}
	sessions     = Family{"sharelock_sessions", Gauge, "Open sessions of clients.", nil}
	watchStreams = Family{"sharelock_watch_streams", Gauge, "Open watches.", nil}
	watchResets  = Family{"sharelock_watch_resets_total", Counter, "Resets that watchers were sent, because they had read too slowly or the key had moved.", nil}

	ready          = Family{"sharelock_ready", Gauge, "1 while this node may serve locks, as /readyz says.", nil}
	leaseRemaining = Family{"sharelock_lease_remaining_seconds", Gauge, "How long this member may act without a renewal of its lease; 0 is not at all.", nil}
	epochNow       = Family{"sharelock_epoch", Gauge, "Epoch of the view in which this node acts; 0 before its first view.", nil}
	members        = Family{"sharelock_members", Gauge, "Members of the view in which this node acts.", nil}
	voters         = Family{"sharelock_voters", Gauge, "Members that vote about the view, as far as this node knows.", nil}
	leader         = Family{"sharelock_leader", Gauge, "1 while this node leads, which means that it decides about the view.", nil}
	viewChanges    = Family{"sharelock_view_changes_total", Counter, "Views that this node has installed, by how they differ from the one before.", []Label{
		{"why", "`first`, `joined`, `left`, `removed` (was silent), `leaving`, `marked` (broken links), `unmarked`, `release` or `epoch` (the members are the same)"},
	}}

	partitions = Family{"sharelock_partitions", Gauge, "Partitions of this member.", []Label{
		{"role", "`owner` or `backup`"},
		{"state", "`active`, `activating` or `quarantined`"},
	}}
	copiesMissing = Family{"sharelock_partition_copies_missing", Gauge, "Copies that should exist of the partitions that this member owns, and do not, or not yet.", nil}
	quarantined   = Family{"sharelock_quarantined_partitions", Gauge, "Partitions of this member whose state was lost, so that nothing is granted until all locks must have expired.", nil}
	activation    = Family{"sharelock_activation_seconds", Histogram, "Time from a new view until all partitions that this member owns in it were served.", nil}
	replication   = Family{"sharelock_replication_seconds", Histogram, "Time from a decision until all backups had it. Of each partition one decision at a time is measured.", nil}

	linkRTT   = Family{"sharelock_link_rtt_seconds", Gauge, "How long the last ping to a member took.", []Label{peerLabel}}
	linkQueue = Family{"sharelock_link_queue_bytes", Gauge, "About how many bytes wait to be sent to a member.", []Label{peerLabel}}
	complains = Family{"sharelock_complaints_total", Counter, "How often this member has begun to complain of another, for which it waits without progress.", []Label{peerLabel}}

	authFailures = Family{"sharelock_auth_failures_total", Counter, "Calls and connections that were refused because of who made them.", []Label{
		{"why", "what was wrong with the credentials, or `denied`"},
	}}
	auditDropped = Family{"sharelock_audit_dropped_total", Counter, "Lines that are missing in the audit log because it was too slow or full.", nil}
	certExpiry   = Family{"sharelock_tls_certificate_expiry_timestamp_seconds", Gauge, "When a certificate of this node expires, in seconds since 1970.", []Label{
		{"cert", "what the certificate is for"},
	}}
	reloads = Family{"sharelock_reloads_total", Counter, "Reloads of files that have changed.", []Label{
		{"what", "what was reloaded, for example `tls`, `auth` or `gossip_keys`"},
		{"result", "`ok` or `failed` (the old contents stay in use)"},
	}}
	buildInfo = Family{"sharelock_build_info", Gauge, "1, for its labels.", []Label{
		{"version", "the version of the program"},
		{"revision", "the commit from which it was built"},
		{"goversion", "the version of Go"},
	}}
)

// A Section is a group of families for readers.
type Section struct {
	Title    string
	Families []Family
}

// Sections lists all metrics of a node, apart from those of the Go runtime and the process.
func Sections() []Section {
	return []Section{
		{"Locks", []Family{holds, waiters, oldest, acquireWait, holdTime, handover, lockEnds}},
		{"Calls", []Family{calls, callDuration, sessions, watchStreams, watchResets}},
		{"Membership", []Family{ready, leaseRemaining, epochNow, members, voters, leader, viewChanges}},
		{"Partitions", []Family{partitions, copiesMissing, quarantined, activation, replication}},
		{"Links between members", []Family{linkRTT, linkQueue, complains}},
		{"Security and files", []Family{authFailures, auditDropped, certExpiry, reloads}},
		{"Program", []Family{buildInfo}},
	}
}
