package mesh

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/pprof"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/mesh/metrics"
	"github.com/sgkandale/sharelock/mesh/network"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// opsPorts are the ports for operators, nil if they are off.
type opsPorts struct{ ops, debug net.Listener }

// bindOps opens the ports for operators.
func (n *Node) bindOps() (err error) {
	for _, p := range []struct {
		key, addr string
		listener  *net.Listener
	}{{"ops.listen", n.cfg.OpsListen, &n.opsPorts.ops}, {"debug.listen", n.cfg.DebugListen, &n.opsPorts.debug}} {
		if p.addr == "" {
			continue
		}
		l, err := n.network.Listen(p.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", p.key, err)
		}
		n.onClose(p.key, func() error { return network.IgnoreClosed(l.Close()) })
		*p.listener = l
	}
	return nil
}

// serveOps serves the ports for operators.
func (n *Node) serveOps(o api.Options) {
	serve := func(what string, l net.Listener, s *http.Server) {
		if l != nil {
			n.serve(what, func() error { return s.Serve(l) })
			n.onClose(what+" server", s.Close)
		}
	}
	serve("ops", n.opsPorts.ops, api.NewOps(n, o))
	serve("debug", n.opsPorts.debug, api.NewDebug())
}

// debugFiles are what this node knows of itself, for debugging.
func (n *Node) debugFiles() []api.DebugFile {
	files := []api.DebugFile{
		{Name: "mesh.json", Write: func(w io.Writer) error {
			return writeText(w, protojson.MarshalOptions{Multiline: true}.Format(pb.MeshToProto(n.Status())))
		}},
		{Name: "ring.txt", Write: n.writeRing},
		{Name: "goroutines.txt", Write: func(w io.Writer) error { return pprof.Lookup("goroutine").WriteTo(w, 2) }},
		{Name: "heap.pprof", Write: func(w io.Writer) error { return pprof.Lookup("heap").WriteTo(w, 0) }},
	}
	if n.cfg.Metrics {
		files = append(files, api.DebugFile{Name: "metrics.txt", Write: func(w io.Writer) error { return metrics.WriteText(w, n.metricsSource()) }})
	}
	if n.cfg.Debug != nil {
		for name, write := range n.cfg.Debug() {
			files = append(files, api.DebugFile{Name: name, Write: write})
		}
	}
	return files
}

func writeText(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

// writeRing writes the owners of all partitions.
func (n *Node) writeRing(w io.Writer) error {
	p, err := n.Placement()
	if err != nil {
		return err
	}
	for partition, owner := range p.Owners {
		if _, err := fmt.Fprintf(w, "%d %s\n", partition, p.Members[owner].Name); err != nil {
			return err
		}
	}
	return nil
}
