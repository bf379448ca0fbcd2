package peer

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/mesh/keyring"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Keyring reads or changes the gossip keys of a member. It may be called only in views of release
// [KeyringRelease] or later.
func (p *Client) Keyring(ctx context.Context, m ring.Member, r keyring.Request) (keyring.Report, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return keyring.Report{}, err
	}
	req := &peerv1.KeyringRequest{Action: actions[r.Action], WithKeys: r.WithKeys}
	switch r.Action {
	case keyring.Install:
		req.Key = r.Key[:]
	case keyring.Use, keyring.Remove:
		req.Fingerprint = r.Fingerprint[:]
	}
	resp, err := c.Keyring(ctx, req)
	if err != nil {
		// People read the message next to the member's name.
		return keyring.Report{}, errors.New(status.Convert(err).Message())
	}
	if why := resp.GetRefused(); why != "" {
		return keyring.Report{}, errors.New(why)
	}
	return reportFromProto(resp)
}

// KeyringRelease is the first release with the call Keyring (W1).
const KeyringRelease = 2

var actions = map[keyring.Action]peerv1.KeyringRequest_Action{
	keyring.Read:    peerv1.KeyringRequest_ACTION_READ_UNSPECIFIED,
	keyring.Install: peerv1.KeyringRequest_ACTION_INSTALL,
	keyring.Use:     peerv1.KeyringRequest_ACTION_USE,
	keyring.Remove:  peerv1.KeyringRequest_ACTION_REMOVE,
}

// Keyring implements the call for this process.
func (p *Server) Keyring(_ context.Context, req *peerv1.KeyringRequest) (*peerv1.KeyringResponse, error) {
	r, err := requestFromProto(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	report, err := p.cfg.Keyring(r)
	if err != nil {
		return &peerv1.KeyringResponse{Refused: err.Error()}, nil //nolint:nilerr // it is the answer
	}
	resp := &peerv1.KeyringResponse{Encryption: report.Mode.String(), FromFile: report.FromFile}
	for i, f := range report.Keys {
		k := &peerv1.KeyringKey{Fingerprint: f[:]}
		if i < len(report.Ring) {
			k.Key = report.Ring[i][:]
		}
		resp.Keys = append(resp.Keys, k)
	}
	return resp, nil
}

// The errors of a malformed message about keys.
var (
	errKeyringAction = errors.New("unknown action on the keyring")
	errKeyringKey    = errors.New("a gossip key or a fingerprint has the wrong length")
)

func requestFromProto(req *peerv1.KeyringRequest) (r keyring.Request, err error) {
	r.WithKeys = req.GetWithKeys()
	known := false
	for action, a := range actions {
		if a == req.GetAction() {
			r.Action, known = action, true
		}
	}
	if !known {
		return r, errKeyringAction
	}
	switch key, f := req.GetKey(), req.GetFingerprint(); r.Action {
	case keyring.Install:
		if len(key) != len(r.Key) {
			return r, errKeyringKey
		}
		r.Key = keyring.Key(key)
	case keyring.Use, keyring.Remove:
		if len(f) != len(r.Fingerprint) {
			return r, errKeyringKey
		}
		r.Fingerprint = keyring.Fingerprint(f)
	}
	return r, nil
}

func reportFromProto(resp *peerv1.KeyringResponse) (r keyring.Report, err error) {
	if r.Mode, err = keyring.ParseMode(resp.GetEncryption()); err != nil {
		return r, err
	}
	r.FromFile = resp.GetFromFile()
	if len(resp.GetKeys()) > keyring.MaxKeys {
		return r, keyring.ErrFull
	}
	for _, k := range resp.GetKeys() {
		if len(k.GetFingerprint()) != len(keyring.Fingerprint{}) || len(k.GetKey()) != 0 && len(k.GetKey()) != keyring.KeySize {
			return r, errKeyringKey
		}
		r.Keys = append(r.Keys, keyring.Fingerprint(k.GetFingerprint()))
		if len(k.GetKey()) > 0 {
			r.Ring = append(r.Ring, keyring.Key(k.GetKey()))
		}
	}
	return r, nil
}
