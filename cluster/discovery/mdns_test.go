package discovery

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// What people call a host becomes one label of a domain name, whatever it is.
func TestLabel(t *testing.T) {
	for name, want := range map[string]string{"Lab1": "lab1", "lab1.example.org": "lab1", "Büro 3": "b-ro-3", "": "control", "---": "control",
		strings.Repeat("a", 90): strings.Repeat("a", 40), "01a2-b": "01a2-b"} {
		if got := label(name); got != want {
			t.Errorf("label(%q) is %q, want %q", name, got, want)
		}
	}
	if got := text("1.2\n\\3" + strings.Repeat("x", 300)); !strings.HasPrefix(got, "1.23x") || len(got) != 200 {
		t.Errorf("text is %q", got)
	}
}

// Of several addresses of a kind one is shown, the first.
func TestOneOfEach(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		shown, err := oneOfEach(&i)
		addrs, err2 := i.Addrs()
		if err != nil || err2 != nil || len(shown) > 3 || len(addrs) > 0 && (len(shown) == 0 || shown[0].String() != addrs[0].String()) {
			t.Errorf("%s has %v and shows %v: %v %v", i.Name, addrs, shown, err, err2)
		}
	}
}

// What is seen is asked once, and not without bound; an address that says nothing
// without its interface is not. proves C-1
func TestSightingsAreBounded(t *testing.T) {
	a, err := openAsker(AskConfig{Secret: labKey, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	a.close() // nothing leaves this machine
	for _, ip := range []string{"fe80::1", "127.0.0.1", "224.0.0.1", "0.0.0.0"} {
		a.also(netip.MustParseAddr(ip))
	}
	if len(a.cfg.Also) != 0 {
		t.Errorf("it asks %v", a.cfg.Also)
	}
	for i := range 2 * sightings {
		a.also(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		a.also(netip.AddrFrom4([4]byte{198, 51, 100, 1}))
	}
	if len(a.cfg.Also) != sightings {
		t.Errorf("it asks %d addresses", len(a.cfg.Also))
	}
}
