package mesh

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/network"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// sniffTimeout is how long a new stream may take to say what it is, and to
	// be accepted.
	sniffTimeout = 5 * time.Second
	// maxSniffing is how many new streams may be in that state. One more takes the place
	// of another: see mux.begin.
	maxSniffing = 256
)

// A link's stream begins with a hello (see package link), Raft's with a preamble; every
// other stream is taken for HTTP/2:
//
//	"SLRF" | version 2 | n 1 | cluster id n | m 1 | voter id m
//
// The voter is the process that is meant. Whoever else listens at its address
// now, a process that has lost its data say, must not vote in its place.
const (
	raftMagic = "SLRF"
	// preambleVersion 1 is that of builds from before release 1.
	preambleVersion = 2
	maxVoterID      = 64
)

// What can be wrong with a new stream.
var (
	errNotRaft        = errors.New("not a raft stream")
	errPreamble       = errors.New("bad preamble")
	errForeignCluster = errors.New("stream of another cluster, or for another process")
)

// mux serves gRPC, links and Raft on one port. It looks at the first bytes of each
// stream, in a goroutine of that stream, so that a slow one keeps nobody
// waiting.
type mux struct {
	listener net.Listener
	mine     muxFilter
	log      *slog.Logger
	grpc     *muxListener
	link     *muxListener
	raft     *muxListener
	wg       sync.WaitGroup
	stopped  chan struct{}
	// wrong is what clients are told that take this port for the public one; nil is nothing.
	wrong atomic.Pointer[error]

	mu sync.Mutex // guards what follows
	// sniffing are the streams that have not been handed over, by when they came.
	sniffing map[net.Conn]uint64
	came     uint64
	closed   bool
}

// muxFilter says which streams may come in. It is called from several goroutines.
type muxFilter interface {
	// meantByRaft: a Raft stream of this cluster, for this voter.
	meantByRaft(cluster []byte, voter string) bool
	// meantByLink: a link of this cluster, to the member that is printed so.
	meantByLink(cluster []byte, to string) bool
	// program is the range of releases that this program works with.
	program() release.Range
}

// newMux takes over the listener. The caller closes the mux, and accepts from all
// listeners.
func newMux(l net.Listener, mine muxFilter, log *slog.Logger) *mux {
	m := &mux{
		listener: l,
		mine:     mine,
		log:      log,
		grpc:     newMuxListener(l.Addr()),
		link:     newMuxListener(l.Addr()),
		raft:     newMuxListener(l.Addr()),
		stopped:  make(chan struct{}),
		sniffing: make(map[net.Conn]uint64),
	}
	m.wg.Go(m.accept)
	return m
}

// grpcListener gives the streams without a preamble.
func (m *mux) grpcListener() net.Listener { return m.grpc }

// linkListener gives the links' streams, each a *link.Stream.
func (m *mux) linkListener() net.Listener { return m.link }

// raftListener gives Raft's streams, after their preamble.
func (m *mux) raftListener() net.Listener { return m.raft }

// close stops all listeners and drops streams that were not accepted yet. It
// waits for the mux's goroutines and may be called twice.
func (m *mux) close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.wg.Wait()
		return nil
	}
	m.closed = true
	close(m.stopped)
	conns := make([]net.Conn, 0, len(m.sniffing))
	for c := range m.sniffing {
		conns = append(conns, c)
	}
	m.mu.Unlock()

	err := m.listener.Close()
	m.stopListeners()
	for _, c := range conns {
		_ = c.Close()
	}
	m.wg.Wait()
	return err
}

func (m *mux) accept() {
	for {
		conn, err := m.listener.Accept()
		if err == nil {
			m.begin(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			m.stopListeners()
			return
		}
		m.log.Warn("accept failed", "error", err)
		select {
		case <-time.After(network.AcceptBackoff):
		case <-m.stopped:
			return
		}
	}
}

// stopListeners ends the listeners above the one that has ended.
func (m *mux) stopListeners() {
	_ = m.grpc.Close()
	_ = m.link.Close()
	_ = m.raft.Close()
}

// begin starts to look at a stream. If too many are looked at already, one of them is
// dropped for it, so that streams that say nothing do not keep out those that do: a member
// says at once what its stream is.
func (m *mux) begin(conn net.Conn) {
	network.LimitUnacked(conn)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		_ = conn.Close()
		return
	}
	var dropped net.Conn
	if len(m.sniffing) >= maxSniffing {
		dropped = m.silent()
		delete(m.sniffing, dropped)
	}
	m.came++
	m.sniffing[conn] = m.came
	m.wg.Go(func() { m.sniff(conn) })
	m.mu.Unlock()
	if dropped != nil {
		_ = dropped.Close()
		m.log.Warn("dropped a stream: too many have not said what they are", "remote", dropped.RemoteAddr())
	}
}

// silent returns the oldest stream of the host that has the most of them: a host that opens
// many harms itself only. It needs mu.
func (m *mux) silent() (oldest net.Conn) {
	count := map[string]int{}
	for conn := range m.sniffing {
		count[remoteHost(conn)]++
	}
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	for conn, came := range m.sniffing {
		if count[remoteHost(conn)] == most && (oldest == nil || came < m.sniffing[oldest]) {
			oldest = conn
		}
	}
	return oldest
}

func remoteHost(conn net.Conn) string {
	addr := conn.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// sniff finds out what a stream is and hands it over.
func (m *mux) sniff(conn net.Conn) {
	handedOver := m.route(conn)
	m.mu.Lock()
	delete(m.sniffing, conn)
	m.mu.Unlock()
	if !handedOver {
		_ = conn.Close()
	}
}

func (m *mux) route(conn net.Conn) bool {
	deadline := time.Now().Add(sniffTimeout)
	if err := conn.SetDeadline(deadline); err != nil {
		return false
	}
	head := make([]byte, len(raftMagic))
	if _, err := io.ReadFull(conn, head); err != nil {
		m.log.Debug("dropped a stream that did not say what it is", "remote", conn.RemoteAddr(), "error", err)
		return false
	}
	var (
		to  *muxListener
		out net.Conn
		err error
	)
	switch string(head) {
	case raftMagic:
		to, out, err = m.raft, conn, m.checkPreamble(conn)
	case link.Magic:
		to = m.link
		out, err = m.checkHello(conn)
	case sharelockv1.SessionMagic:
		if wrong := m.wrong.Load(); wrong != nil {
			err = api.RefuseSession(conn, *wrong)
		}
		m.log.Debug("a client has taken this port for the public one", "remote", conn.RemoteAddr(), "error", err)
		return false
	default:
		to, out = m.grpc, frame.Replay(conn, head)
	}
	if err != nil {
		m.log.Warn("refused a stream", "remote", conn.RemoteAddr(), "magic", string(head), "error", err)
		return false
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return false
	}
	return to.deliver(out, time.Until(deadline))
}

func (m *mux) checkPreamble(r io.Reader) error {
	cluster, voter, err := readPreambleIDs(r)
	if err != nil {
		return err
	}
	if !m.mine.meantByRaft(cluster, voter) {
		return fmt.Errorf("%w: cluster %x, voter %q", errForeignCluster, cluster, voter)
	}
	return nil
}

func (m *mux) checkHello(conn net.Conn) (net.Conn, error) {
	s, err := link.Accept(conn, m.mine.program(), m.mine.meantByLink)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// appendPreamble writes the preamble of a Raft stream. The cluster id has 1 to
// maxClusterID bytes, the voter's 1 to maxVoterID.
func appendPreamble(b, clusterID []byte, voter string) ([]byte, error) {
	if len(clusterID) == 0 || len(clusterID) > maxClusterID {
		return b, fmt.Errorf("%w: a cluster id of %d bytes", errPreamble, len(clusterID))
	}
	if len(voter) == 0 || len(voter) > maxVoterID {
		return b, fmt.Errorf("%w: a voter id of %d bytes", errPreamble, len(voter))
	}
	b = append(b, raftMagic...)
	b = append(b, preambleVersion, byte(len(clusterID)))
	b = append(b, clusterID...)
	b = append(b, byte(len(voter)))
	return append(b, voter...), nil
}

// readPreamble reads a whole preamble and not a byte more.
func readPreamble(r io.Reader) (clusterID []byte, voter string, err error) {
	head := make([]byte, len(raftMagic))
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, "", err
	}
	if string(head) != raftMagic {
		return nil, "", errNotRaft
	}
	return readPreambleIDs(r)
}

// readPreambleIDs reads what follows the magic.
func readPreambleIDs(r io.Reader) (clusterID []byte, voter string, err error) {
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
	if clusterID, err = readPreambleID(r, "cluster", maxClusterID); err != nil {
		return nil, "", err
	}
	id, err := readPreambleID(r, "voter", maxVoterID)
	return clusterID, string(id), err
}

func readPreambleID(r io.Reader, what string, most int) ([]byte, error) {
	var size [1]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	if n := int(size[0]); n == 0 || n > most {
		return nil, fmt.Errorf("%w: a %s id of %d bytes", errPreamble, what, n)
	}
	id := make([]byte, size[0])
	_, err := io.ReadFull(r, id)
	return id, err
}

// muxListener is one part of a mux.
type muxListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMuxListener(addr net.Addr) *muxListener {
	return &muxListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// deliver waits until someone accepts the stream.
func (l *muxListener) deliver(conn net.Conn, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case l.conns <- conn:
		return true
	case <-l.closed:
	case <-timer.C:
	}
	return false
}

// Accept waits for the next stream; after Close it is net.ErrClosed.
func (l *muxListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

// Close stops this part; the others go on. It may be called twice.
func (l *muxListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is the address of the listener below.
func (l *muxListener) Addr() net.Addr { return l.addr }
