package main

import (
	"context"
	"errors"
	"os"
	"strings"
)

// latencyDevice is the Linux device by which a process keeps processors from sleeping, as long as
// the file is open. ShareLock's node.keep_awake does the same.
const latencyDevice = "/dev/cpu_dma_latency"

// asleep returns the reason why processors cannot be kept awake on this machine, or an empty
// string.
func asleep() string {
	f, err := openAwake()
	if err != nil {
		return err.Error()
	}
	_ = f.Close()
	// Without a driver the kernel ignores the request.
	if driver, err := os.ReadFile("/sys/devices/system/cpu/cpuidle/current_driver"); err != nil || strings.TrimSpace(string(driver)) == "none" {
		return "this kernel has no driver for idle states of processors"
	}
	return ""
}

// openAwake keeps the processors awake until the file is closed.
func openAwake() (*os.File, error) {
	f, err := os.OpenFile(latencyDevice, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, 4)); err != nil { // 0 µs
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// awake returns a system that runs while this process keeps the processors awake.
func awake(s system) system {
	start := s.start
	s.start = func(ctx context.Context, b binaries, dir string) (*service, error) {
		f, err := openAwake()
		if err != nil {
			return nil, err
		}
		sv, err := start(ctx, b, dir)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		sv.awake = f
		return sv, nil
	}
	return s
}

// awakeVariants returns ShareLock with its own setting, and other systems for which this process
// keeps the processors awake.
func awakeVariants() []variant {
	var vs []variant
	for _, nodes := range []int{1, 3} {
		s := sharelock(nodes, "SHARELOCK_NODE__KEEP_AWAKE=true")
		vs = append(vs, variant{s, s.name, nil})
	}
	for _, s := range []system{redisLock(), redlock(3)} {
		vs = append(vs, variant{awake(s), s.name, nil})
	}
	return vs
}

// awakeLoads returns the loads in which processors sleep for much of the time.
func awakeLoads() []load {
	var loads []load
	for _, l := range peerLoads() {
		if l.name != loadDistinct {
			loads = append(loads, l)
		}
	}
	return loads
}
