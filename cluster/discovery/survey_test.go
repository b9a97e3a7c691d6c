package discovery

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// opened runs a control plane that trusts its network, on a free port of loopback.
func opened(t *testing.T, pin byte, now func() time.Time) netip.AddrPort {
	t.Helper()
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.LocalAddr().(*net.UDPAddr).AddrPort()
	free.Close()
	a, err := Listen(AnswerConfig{Self: Self{Port: 7600, TLS: true, Pin: [32]byte{pin}, Node: "ctl"}, Port: int(at.Port()), Now: now,
		Keys: func(id KeyID) []byte {
			if id == openID {
				return OpenKey[:]
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return at
}

// proves C-1: a worker without a token hears every cluster that would take it, each
// once, whatever its clock says, and none that would not
func TestSurvey(t *testing.T) {
	hourOff := func() time.Time { return time.Now().Add(time.Hour) }
	one, two, closed := opened(t, 1, nil), opened(t, 2, hourOff), answerer(t, nil)
	for want, also := range map[int][]netip.AddrPort{1: {one, one, closed}, 2: {one, two, closed}} {
		cfg := asking(one)
		cfg.Also = also
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		found, err := Survey(ctx, cfg, 300*time.Millisecond)
		cancel()
		if err != nil || len(found) != want || found[0].URL != "https://127.0.0.1:7600" || found[0].Pin == [32]byte{} {
			t.Errorf("%+v %v, want %d", found, err, want)
		}
	}
	cfg := asking(closed)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if found, err := Survey(ctx, cfg, time.Second); entropy.ErrorCode(err) != entropy.CodeUnavailable || entropy.AsError(err).Hint == "" {
		t.Errorf("%+v %v", found, err)
	}
}
