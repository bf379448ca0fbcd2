package metrics

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
)

// collector makes metrics of a Source's numbers at each scrape.
type collector struct {
	source Source
	descs  map[string]*prometheus.Desc
	build  [3]string
}

func newCollector(s Source) *collector {
	c := &collector{source: s, descs: map[string]*prometheus.Desc{}, build: buildOf()}
	for _, section := range Sections() {
		for _, f := range section.Families {
			var labels []string
			for _, l := range f.Labels {
				labels = append(labels, l.Name)
			}
			c.descs[f.Name] = prometheus.NewDesc(f.Name, f.Help, labels, nil)
		}
	}
	return c
}

// buildOf returns version, revision and the version of Go of this program.
func buildOf() [3]string {
	b := [3]string{"(devel)", "unknown", runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b[0] = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b[1] = s.Value
		}
	}
	return b
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	e := emitter{c, ch}
	e.owner()
	e.member()
	e.calls()
	e.links()
	e.security()
	e.number(buildInfo, 1, c.build[:]...)
}

// emitter emits the metrics of one scrape.
type emitter struct {
	*collector
	ch chan<- prometheus.Metric
}

// number emits the value of a gauge or a counter.
func (e emitter) number(f Family, v float64, labels ...string) {
	kind := prometheus.GaugeValue
	if f.Kind == Counter {
		kind = prometheus.CounterValue
	}
	e.ch <- prometheus.MustNewConstMetric(e.descs[f.Name], kind, v, labels...)
}

// flag emits a gauge that is 0 or 1.
func (e emitter) flag(f Family, on bool) {
	v := 0.0
	if on {
		v = 1
	}
	e.number(f, v)
}

// counts emits a counter for each value of its label.
func (e emitter) counts(f Family, by map[string]uint64) {
	for label, n := range by {
		e.number(f, float64(n), label)
	}
}

func (e emitter) histogram(f Family, h *metrics.Histogram, labels ...string) {
	e.ch <- newHistogram(e.descs[f.Name], h, labels)
}

var (
	modes   = [...]string{"exclusive", "shared"}
	results = map[owner.WaitResult]string{
		owner.WaitGranted: "granted", owner.WaitHeld: "held", owner.WaitCancelled: "cancelled", owner.WaitError: "error",
	}
	ends = map[owner.End]string{
		owner.EndReleased: "released", owner.EndExpired: "expired", owner.EndForced: "forced", owner.EndCancelled: "cancelled",
	}
)

// owner emits what the node has counted as an owner, and about its partitions.
func (e emitter) owner() {
	var st owner.Stats
	totals, in := &owner.Totals{}, false
	if e.source.Owner != nil {
		st, totals, in = e.source.Owner()
	}
	if !in {
		totals = &owner.Totals{}
	}
	e.number(holds, float64(st.Holds))
	e.number(waiters, float64(st.Waiters))
	e.number(oldest, st.LongestWait.Seconds())
	for mode := range totals.Wait {
		for result := range totals.Wait[mode] {
			e.histogram(acquireWait, &totals.Wait[mode][result], modes[mode], results[owner.WaitResult(result)])
		}
	}
	for end := range totals.Hold {
		name := ends[owner.End(end)]
		e.histogram(holdTime, &totals.Hold[end], name)
		e.number(lockEnds, float64(totals.Hold[end].Count()), name)
	}
	e.histogram(handover, &totals.Handover)
	e.histogram(replication, &totals.Replication)
	e.histogram(activation, &totals.Activation)

	e.number(partitions, float64(st.Active-st.Quarantined), "owner", "active")
	e.number(partitions, float64(st.Owned-st.Active), "owner", "activating")
	e.number(partitions, float64(st.Quarantined), "owner", "quarantined")
	e.number(partitions, float64(st.Synced), "backup", "active")
	e.number(partitions, float64(st.Backed-st.Synced), "backup", "activating")
	e.number(quarantined, float64(st.Quarantined))
	m := value(e.source.Member)
	e.number(copiesMissing, float64(missing(st, m)))
}

// missing returns how many copies are missing of the partitions that a member owns. The backups of
// a partition that is not active have not all confirmed, so none of them counts.
func missing(st owner.Stats, m Member) int {
	return st.Active*max(m.Copies-m.Placed, 0) + (st.Owned-st.Active)*max(m.Copies-1, 0)
}

// member emits how the node is a member.
func (e emitter) member() {
	m := value(e.source.Member)
	e.flag(ready, m.Ready)
	e.flag(leader, m.Leader)
	e.number(leaseRemaining, m.LeaseRemaining.Seconds())
	e.number(epochNow, float64(m.Epoch))
	e.number(members, float64(m.Members))
	e.number(voters, float64(m.Voters))
	changes := value(e.source.ViewChanges)
	for _, why := range epoch.Changes {
		e.number(viewChanges, float64(changes[why]), why)
	}
}

// calls emits the calls, and the streams of clients.
func (e emitter) calls() {
	e.number(sessions, float64(value(e.source.Sessions)))
	e.number(watchStreams, float64(value(e.source.WatchStreams)))
	e.number(watchResets, float64(value(e.source.WatchResets)))
	if e.source.Calls == nil {
		return
	}
	e.source.Calls.Each(func(door, method string, codes map[string]uint64, took *metrics.Histogram) {
		for code, n := range codes {
			e.number(calls, float64(n), method, door, code)
		}
		e.histogram(callDuration, took, method, door)
	})
}

// links emits what is known of other members.
func (e emitter) links() {
	for name, st := range value(e.source.Links) {
		e.number(linkQueue, float64(st.Queued), name)
		if st.RTT > 0 {
			e.number(linkRTT, st.RTT.Seconds(), name)
		}
	}
	e.counts(complains, value(e.source.Complaints))
}

// security emits what concerns identities, and files that are reloaded.
func (e emitter) security() {
	e.counts(authFailures, value(e.source.AuthFailures))
	e.number(auditDropped, float64(value(e.source.AuditDropped)))
	for name, at := range value(e.source.Certificates) {
		e.number(certExpiry, float64(at.Unix()), name)
	}
	for r, n := range value(e.source.Reloads) {
		result := "ok"
		if !r.OK {
			result = "failed"
		}
		e.number(reloads, float64(n), r.What, result)
	}
}
