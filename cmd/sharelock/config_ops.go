package main

import "math"

// opsKeys returns the settings for operators: the audit log, and the ports for probes and for
// those who debug.
func opsKeys() []key {
	return []key{
		{
			"audit.file", "", "",
			textValue(func(c *config) *string { return &c.audit.File }),
		},
		{
			"audit.calls", "", "",
			boolean(func(c *config) *bool { return &c.audit.Calls }),
		},
		{"audit.max_bytes", "", "", bytesOf(func(c *config) *int64 { return &c.audit.MaxBytes })},
		{
			"audit.keep", "", "",
			integer(func(c *config) *int { return &c.audit.Keep }),
		},
		{
			"tracing.keys", "", "",
			boolean(func(c *config) *bool { return &c.mesh.TraceKeys }),
		},
		{
			"ops.listen", "", "",
			textValue(func(c *config) *string { return &c.mesh.OpsListen }),
		},
		{
			"debug.listen", "", "",
			textValue(func(c *config) *string { return &c.mesh.DebugListen }),
		},
		{
			"debug.flight_recorder", "", "",
			boolean(func(c *config) *bool { return &c.flightRecorder }),
		},
	}
}

// bytesOf returns the value of a setting that is a number of bytes.
func bytesOf(field func(*config) *int64) value {
	return value{func(c *config, v any) error {
		var n int
		if err := integer(func(*config) *int { return &n }).set(c, v); err != nil {
			return err
		}
		*field(c) = int64(min(n, math.MaxInt64))
		return nil
	}, func(c *config) any { return *field(c) }}
}
