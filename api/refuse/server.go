package refuse

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
)

// AtHTTP makes an HTTP server answer gRPC clients with the error wrong, and with secure set also
// sessions that are opened at its port over TLS.
func AtHTTP(server *http.Server, wrong error, secure bool) {
	answerGRPC(server, wrong)
	if secure {
		sessionsOverTLS(server, wrong)
	}
}

// answerGRPC makes an HTTP server answer gRPC clients. They use HTTP/2, which the HTTP API supports
// only over TLS.
func answerGRPC(server *http.Server, wrong error) {
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	next := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ProtoMajor < 2:
			next.ServeHTTP(w, r)
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
			refuseGRPC(w, wrong)
		case r.TLS != nil:
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "this port speaks HTTP/1.1", http.StatusHTTPVersionNotSupported)
		}
	})
}

// refuseGRPC answers a gRPC call with an error, in a response of headers only.
func refuseGRPC(w http.ResponseWriter, err error) {
	st := pb.ToStatus(err)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(st.Code())))
	h.Set("Grpc-Message", st.Message())
	if details, merr := proto.Marshal(st.Proto()); merr == nil {
		h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(details))
	}
	w.WriteHeader(http.StatusOK)
}

// sessionsOverTLS makes an HTTP server answer plain sessions that are opened at its port over TLS,
// by the name of their protocol in ALPN.
func sessionsOverTLS(server *http.Server, wrong error) {
	server.Protocols.SetHTTP2(true)
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		sessionwire.Protocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
			head := make([]byte, len(sessionwire.SessionMagic))
			if _, err := io.ReadFull(conn, head); err == nil && string(head) == sessionwire.SessionMagic {
				_ = Session(conn, wrong) // the server closes it
			}
		},
	}
}
