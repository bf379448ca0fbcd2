package refuse

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"strconv"

	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/protobuf/proto"
)

const (
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// Types and flags of frames of HTTP/2.
	frameHeaders  = 1
	frameSettings = 4
	endStream     = 1
	endHeaders    = 4
	// frameHead is the size of a frame without its payload, in bytes.
	frameHead = 9
	// maxFrames is how many frames may come before the first call.
	maxFrames = 16
)

// refuseHTTP2 answers the first gRPC call of a connection with an error, without an HTTP/2 server: the
// answer is one frame of headers. The first bytes of the preface, which are as many as those of a
// session's magic, were read.
func refuseHTTP2(conn net.Conn, head int, refusal error) error {
	if _, err := conn.Write(appendFrameHead(nil, 0, frameSettings, 0, 0)); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, conn, int64(len(http2Preface)-head)); err != nil {
		return err
	}
	for range maxFrames {
		var frame [frameHead]byte
		if _, err := io.ReadFull(conn, frame[:]); err != nil {
			return err
		}
		size := int64(frame[0])<<16 | int64(frame[1])<<8 | int64(frame[2])
		if size > MaxDrained {
			return nil
		}
		if _, err := io.CopyN(io.Discard, conn, size); err != nil {
			return err
		}
		if frame[3] == frameHeaders {
			block := headersOf(refusal)
			answer := appendFrameHead(nil, len(block), frameHeaders, endStream|endHeaders, binary.BigEndian.Uint32(frame[5:]))
			_, err := conn.Write(append(answer, block...))
			return err
		}
	}
	return nil
}

func appendFrameHead(b []byte, size int, kind, flags byte, stream uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(size>>16&0xff), byte(size>>8&0xff), byte(size&0xff), kind, flags), stream)
}

// headersOf encodes the headers of a gRPC answer that is an error.
func headersOf(err error) []byte {
	st := pb.ToStatus(err)
	headers := [][2]string{
		{"content-type", "application/grpc"}, {"grpc-status", strconv.Itoa(int(st.Code()))}, {"grpc-message", st.Message()},
	}
	if details, merr := proto.Marshal(st.Proto()); merr == nil {
		headers = append(headers, [2]string{"grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(details)})
	}
	block := []byte{0x80 | 8} // ":status: 200", in HPACK's static table
	for _, h := range headers {
		block = append(block, 0) // a literal with a new name that is not kept
		for _, text := range h {
			block = append(appendHpackLength(block, len(text)), text...)
		}
	}
	return block
}

// appendHpackLength appends an integer with a prefix of seven bits (RFC 7541, 5.1).
func appendHpackLength(b []byte, n int) []byte {
	const most = 1<<7 - 1
	if n < most {
		return append(b, byte(n&most))
	}
	return binary.AppendUvarint(append(b, most), uint64(n-most))
}
