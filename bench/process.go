package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startTime is how long a service may take to be ready.
	startTime = 60 * time.Second
	// pollTime is the pause between two checks whether it is ready.
	pollTime = 50 * time.Millisecond
	// stopTime is how long a process may take to end before it is killed.
	stopTime = 20 * time.Second
	// clockTicks is the number of ticks of /proc/PID/stat per second: USER_HZ, which is 100 on
	// every Linux.
	clockTicks = 100
)

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startProcess starts a server and writes its output to a file in dir. The server is killed when
// this process ends for any reason.
func startProcess(dir, name string, env []string, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its log has the reason
	}()
	return p, nil
}

// share returns the environment of each of n servers in Go that share the machine: each gets its
// share of the processors, at least one. Without it each server would wake all processors all the
// time and take them from the others.
func share(n int) []string {
	return []string{"GOMAXPROCS=" + strconv.Itoa(max(1, runtime.NumCPU()/n))}
}

// stop asks the process to end, and kills it after stopTime.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// rss returns the resident memory of the process in bytes.
func (p *process) rss() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS in the status of a process")
}

// cpu returns the processor time that the process has used.
func (p *process) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name is in parentheses and may contain any character. The 11th and 12th fields after
	// it are user and system time.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("the stat of a process is too short")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

// tail returns the end of the process's log.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}

// ready waits until try succeeds, or any process ends.
func ready(ctx context.Context, procs []*process, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		for _, p := range procs {
			select {
			case <-p.done:
				return fmt.Errorf("%s has ended: %s", filepath.Base(p.log), p.tail())
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w; %s", err, procs[0].tail())
		case <-time.After(pollTime):
		}
	}
}

// freeAddrs returns distinct loopback addresses that are not in use.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // only after all are found
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
