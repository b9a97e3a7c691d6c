package discovery

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/betamos/zeroconf"
)

// This file is the only one that knows the library that speaks multicast DNS
// (RFC 6762) and DNS service discovery (RFC 6763).

// serviceType is what browsers of the network look for.
var serviceType = zeroconf.NewType("_entropy._tcp")

// Advert is what a control plane shows to whoever browses the network. Anybody
// may read it and anybody may forge it: it holds no secret, and is believed by nobody.
type Advert struct {
	Cluster string // the cluster's ID
	Host    string // where the control plane runs, for people
	Version string
	Port    uint16 // of the API
	TLS     bool
	// Only, when set, is the one address that the API listens on: nothing is shown
	// on other interfaces than its own.
	Only net.IP
}

// Advertiser shows an advert until it is closed.
type Advertiser struct {
	client  *zeroconf.Client
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Advertise shows the control plane to the browsers of the networks that this
// machine is on. It claims a host name of its own, entropy-CLUSTER.local: of a name
// that two responders claim, the machine's own would be renamed.
func Advertise(ad Advert, logger *slog.Logger) (*Advertiser, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	name := label(ad.Cluster)
	service := zeroconf.NewService(serviceType, label(ad.Host)+"-"+name[max(0, len(name)-6):], ad.Port)
	service.Hostname = "entropy-" + name + ".local"
	service.Text = []string{"cluster=" + text(ad.Cluster), "version=" + text(ad.Version), "api=" + strconv.Itoa(int(ad.Port)), "tls=" + strconv.FormatBool(ad.TLS)}
	client, err := open(func() *zeroconf.Client { return zeroconf.New().Publish(service) }, ad.Only, logger)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Advertiser{client: client, stop: stop}
	a.running.Go(func() { a.follow(ctx, ad.Only) })
	return a, nil
}

// follow shows the advert on new interfaces and with new addresses: the library
// does not look for them by itself.
func (a *Advertiser) follow(ctx context.Context, only net.IP) {
	tick := time.NewTicker(relook)
	defer tick.Stop()
	before := addresses(only)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := addresses(only); !slices.Equal(now, before) {
			before = now
			a.client.Reload()
		}
	}
}

// Close takes the advert back. It is idempotent.
func (a *Advertiser) Close() {
	a.stop()
	a.running.Wait()
	if a.client != nil {
		_ = a.client.Close() // who has not heard it forgets within two minutes
		a.client = nil
	}
}

// sightings bounds what one search takes from browsing: anybody on the network can
// make up as many control planes as they like.
const sightings = 64

// browse looks for adverts of a cluster, of any when its ID is "", and passes on
// where they say it is. It stops by itself after many; close ends it.
func browse(cluster string, seen chan<- netip.Addr) (end func()) {
	enough := make(chan struct{})
	left := sightings // only the library's goroutine counts
	found := func(e zeroconf.Event) {
		if e.Op == zeroconf.OpRemoved || left == 0 {
			return
		}
		if left--; left == 0 {
			close(enough)
		}
		if cluster != "" && !slices.Contains(e.Text, "cluster="+cluster) {
			return
		}
		for _, addr := range e.Addrs {
			select {
			case seen <- addr:
			default: // they are hints
			}
		}
	}
	client, err := open(func() *zeroconf.Client { return zeroconf.New().Browse(found, serviceType) }, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return func() {} // port 5353 is not ours to have: the questions do without
	}
	ended, closed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(closed)
		select {
		case <-enough:
		case <-ended:
		}
		_ = client.Close()
	}()
	return func() {
		close(ended)
		<-closed
	}
}

// open opens a client on the interfaces that reach others, without IPv6 where the
// machine has none.
func open(fresh func() *zeroconf.Client, only net.IP, logger *slog.Logger) (*zeroconf.Client, error) {
	interfaces := func() (usable []net.Interface, err error) {
		all, err := links()
		for i := range all {
			if only == nil || has(&all[i].Interface, only) {
				usable = append(usable, all[i].Interface)
			}
		}
		return usable, err
	}
	client, err := fresh().Interfaces(interfaces).InterfaceAddrs(oneOfEach).Logger(logger).Open()
	if err != nil {
		client, err = fresh().Interfaces(interfaces).InterfaceAddrs(oneOfEach).Logger(logger).Network("udp4").Open()
	}
	return client, err
}

// oneOfEach returns the first address of each kind. Of several of one kind the
// library would leave out the first and take the rest.
func oneOfEach(i *net.Interface) ([]net.Addr, error) {
	addrs, err := i.Addrs()
	taken := map[[2]bool]bool{}
	return slices.DeleteFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return true
		}
		kind := [2]bool{n.IP.To4() != nil, n.IP.IsLinkLocalUnicast()}
		if kind[0] {
			kind[1] = false
		}
		again := taken[kind]
		taken[kind] = true
		return again
	}), err
}

// addresses returns what is advertised where, in words that can be compared.
func addresses(only net.IP) (all []string) {
	usable, _ := links()
	for i := range usable {
		if only != nil && !has(&usable[i].Interface, only) {
			continue
		}
		addrs, _ := oneOfEach(&usable[i].Interface)
		for _, a := range addrs {
			all = append(all, usable[i].Name+" "+a.String())
		}
	}
	slices.Sort(all)
	return all
}

// has reports whether an interface has an address.
func has(i *net.Interface, ip net.IP) bool {
	addrs, err := i.Addrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// label makes one label of a domain name out of a name of people's making.
func label(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	if name = strings.Trim(name[:min(len(name), 40)], "-"); name == "" {
		return "control"
	}
	return name
}

// text keeps a value of a TXT record within its 255 bytes, and printable.
func text(value string) string {
	value = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '\\' {
			return -1
		}
		return r
	}, value)
	return value[:min(len(value), 200)]
}
