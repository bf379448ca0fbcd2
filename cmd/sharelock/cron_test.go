//go:build linux

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Settings from scripts/cron.
const (
	// cronEnv is short or full; without it the test is skipped.
	cronEnv = "SHARELOCK_CRON"
	// cronBinaryEnv is the path of sharelock.
	cronBinaryEnv = "SHARELOCK_CRON_BINARY"
)

const (
	// cronSlot is the time between two starts of a job. cronSkew bounds the difference between the starts on different hosts.
	cronSlot = 20 * time.Second
	cronSkew = time.Second
)

// cronJob is a line that each of three hosts has in its crontab.
type cronJob struct {
	name string
	// args come between the key and CMD.
	args []string
	// takes is how long CMD runs, in seconds.
	takes string
	// once: one host runs it in each slot, and the others do not wait. Otherwise all hosts run it, one after
	// the other.
	once bool
}

var cronJobs = []cronJob{
	// It takes longer than the skew and a change of view, so no host finds it finished.
	{name: "nightly", args: []string{"-n", "-E", "0"}, takes: "9", once: true},
	{name: "rotate", args: []string{"--wait", "1m"}, takes: "0.5"},
}

// cronCommand logs when it starts and ends, and whether another one runs.
const cronCommand = `echo "$0 start" >>"$LOG"; mkdir "$RUNS" || echo "$0 overlaps" >>"$LOG"
sleep "$1"; rmdir "$RUNS"; echo "$0 end" >>"$LOG"`

// crontab runs the jobs of three hosts.
type crontab struct {
	dir   string
	nodes []*proc
	work  sync.WaitGroup

	mu     sync.Mutex
	failed []string // guarded by mu
	starts int      // guarded by mu
}

// TestCron runs jobs under sharelock lock as cron starts them, on three hosts at about the same time, while
// the nodes restart in turn, every third by kill -9. Each job must run once in each slot, on one host or on
// each, and never twice at the same time.
func TestCron(t *testing.T) {
	mode := os.Getenv(cronEnv)
	if mode == "" {
		t.Skip("twenty minutes of jobs under sharelock lock: make cron")
	}
	slots, rest := 60, 5*time.Second
	if mode == "short" {
		slots, rest = 3, time.Second
	}
	r := newRehearsal(t, 3, "")
	for i := range 3 {
		r.procs = append(r.procs, &proc{name: string(rune('a' + i)), host: r.host(i), program: os.Getenv(cronBinaryEnv), log: &buffer{}})
	}
	c := &crontab{dir: t.TempDir(), nodes: r.form(3)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(cronSlot)
		defer tick.Stop()
		for slot := range slots {
			c.start(slot)
			<-tick.C
		}
		c.work.Wait()
	}()
	stops, kills := c.restart(r, over, rest)
	for _, f := range c.failed {
		t.Error(f)
	}
	runs := 0
	for _, job := range cronJobs {
		runs += c.check(t, job, slots)
	}
	t.Logf("%d slots: %d starts of sharelock lock, %d runs; meanwhile %d restarts and %d kills of nodes", slots, c.starts, runs, stops, kills)
}

// start starts the jobs of a slot.
func (c *crontab) start(slot int) {
	for _, job := range cronJobs {
		for host := range c.nodes {
			skew := rand.N(cronSkew)
			c.work.Go(func() {
				time.Sleep(skew) // as cron does
				c.run(job, slot, host)
			})
		}
	}
}

// run starts a job once on one host, whose own node is asked first.
func (c *crontab) run(job cronJob, slot, host int) {
	var servers []string
	for i := range c.nodes {
		servers = append(servers, c.nodes[(host+i)%len(c.nodes)].host+":50052")
	}
	name := fmt.Sprintf("%d/%d", slot, host)
	args := slices.Concat([]string{"lock", "cron/" + job.name, "--server", strings.Join(servers, ",")}, job.args,
		[]string{"--", "sh", "-c", cronCommand, name, job.takes})
	cmd := exec.Command(cmp.Or(os.Getenv(cronBinaryEnv), os.Args[0]), args...)
	cmd.Env = append(os.Environ(), "SHARELOCK_TEST_MAIN=1", "LOG="+c.log(job), "RUNS="+filepath.Join(c.dir, job.name+".runs"))
	out, err := cmd.CombinedOutput()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts++
	if err != nil {
		c.failed = append(c.failed, fmt.Sprintf("%s %s at %s: %v: %s", job.name, name, time.Now().Format("15:04:05.000"), err, bytes.TrimSpace(out)))
	}
}

func (c *crontab) log(job cronJob) string { return filepath.Join(c.dir, job.name+".log") }

// restart restarts one node after the other until the jobs are over.
func (c *crontab) restart(r *rehearsal, over <-chan struct{}, rest time.Duration) (stops, kills int) {
	for n := 0; ; n++ {
		select {
		case <-over:
			return stops, kills
		case <-time.After(rest):
		}
		p := c.nodes[n%len(c.nodes)]
		if n%4 == 3 {
			r.kill(p)
			kills++
		} else {
			r.stop(p)
			stops++
		}
		r.again(p)
		r.await(p.name+" is back", time.Minute, func() bool { return r.whole(c.nodes...) })
	}
}

// check examines what the runs of a job have logged, and returns how many runs there were.
func (c *crontab) check(t *testing.T, job cronJob, slots int) (runs int) {
	t.Helper()
	text, err := os.ReadFile(c.log(job))
	if err != nil {
		t.Fatal(err)
	}
	began := map[string]int{} // by slot and host
	running := ""
	for line := range strings.Lines(string(text)) {
		name, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "start":
			if running != "" {
				t.Errorf("%s: %s started while %s was running", job.name, name, running)
			}
			running = name
			began[name]++
			runs++
		case "end":
			running = ""
		default:
			t.Errorf("%s: %s", job.name, line)
		}
	}
	for slot := range slots {
		n := 0
		for host := range c.nodes {
			of := began[fmt.Sprintf("%d/%d", slot, host)]
			if n += of; of > 1 || of == 0 && !job.once {
				t.Errorf("%s: host %d ran it %d times in slot %d", job.name, host, of, slot)
			}
		}
		if job.once && n != 1 {
			t.Errorf("%s: %d hosts ran it in slot %d", job.name, n, slot)
		}
	}
	return runs
}
