package main

import "time"

// historyKeys returns the settings of the history of ended holds.
func historyKeys() []key {
	return []key{
		{"history.max_bytes", "", "", bytesOf(func(c *config) *int64 { return &c.mesh.HistoryBytes })},
		{"history.keep", "", "", duration(func(c *config) *time.Duration { return &c.mesh.HistoryKeep })},
	}
}
