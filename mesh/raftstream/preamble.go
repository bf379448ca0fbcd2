package raftstream

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
)

// Every stream begins with a preamble, which is not answered:
//
//	"SLRF" | version 2 | n 1 | cluster id n | m 1 | voter id m
//
// The voter is the process that is meant. Whoever else listens at its address
// now, a process that has lost its data say, must not vote in its place.
const (
	// Magic is what a stream of Raft begins with.
	Magic = "SLRF"
	// preambleVersion 1 is that of builds from before release 1.
	preambleVersion = 2
	maxVoterID      = 64
)

// What can be wrong with a stream that says that it is Raft's.
var (
	errPreamble = errors.New("bad preamble")
	errForeign  = errors.New("stream of another cluster, or for another process")
)

// Accept reads the preamble of a stream that has begun with Magic, which was read. A stream that is
// not meant for this process is refused: meant is asked about the cluster, and about the voter to
// which it says it goes.
func Accept(conn net.Conn, meant func(cluster []byte, voter string) bool) (net.Conn, error) {
	cluster, voter, err := readPreamble(conn)
	if err != nil {
		return nil, err
	}
	if !meant(cluster, voter) {
		return nil, fmt.Errorf("%w: cluster %x, voter %q", errForeign, cluster, voter)
	}
	return conn, nil
}

// appendPreamble appends the preamble of a stream. The cluster id has 1 to
// rules.MaxClusterID bytes, the voter's 1 to maxVoterID.
func appendPreamble(b, clusterID []byte, voter string) ([]byte, error) {
	if len(clusterID) == 0 || len(clusterID) > rules.MaxClusterID {
		return b, fmt.Errorf("%w: a cluster id of %d bytes", errPreamble, len(clusterID))
	}
	if len(voter) == 0 || len(voter) > maxVoterID {
		return b, fmt.Errorf("%w: a voter id of %d bytes", errPreamble, len(voter))
	}
	b = append(b, Magic...)
	b = append(b, preambleVersion, intconv.Uint8(len(clusterID)))
	b = append(b, clusterID...)
	b = append(b, intconv.Uint8(len(voter)))
	return append(b, voter...), nil
}

// readPreamble reads what follows the magic, and not a byte more.
func readPreamble(r io.Reader) (clusterID []byte, voter string, err error) {
	var version [1]byte
	if _, err := io.ReadFull(r, version[:]); err != nil {
		return nil, "", err
	}
	switch version[0] {
	case preambleVersion:
	case 1:
		return nil, "", fmt.Errorf("%w: the other side is %v, this program is %v", release.ErrMismatch, release.Range{}, release.Own())
	default:
		return nil, "", fmt.Errorf("%w: version %d, this program knows %d", errPreamble, version[0], preambleVersion)
	}
	if clusterID, err = frame.ReadID(r, "cluster", rules.MaxClusterID, errPreamble); err != nil {
		return nil, "", err
	}
	id, err := frame.ReadID(r, "voter", maxVoterID, errPreamble)
	return clusterID, string(id), err
}
