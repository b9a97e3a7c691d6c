package main

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/fabric"
)

// defaultServer is where a control plane listens when nobody said otherwise.
const defaultServer = "http://" + fabric.DefaultListen

// dataDir returns the data directory that is used when none is named:
// $XDG_STATE_HOME/entropy, /var/lib/entropy as root, ~/.local/state/entropy.
func (a *app) dataDir() string {
	if dir := a.env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "entropy")
	}
	if os.Geteuid() == 0 {
		return "/var/lib/entropy"
	}
	return filepath.Join(a.env("HOME"), ".local", "state", "entropy")
}

// connect finds the control plane and the credential, in the order flag,
// environment, files of a control plane on this host, and returns a client.
func (a *app) connect() (entropy.Service, error) {
	server, err := a.server()
	if err != nil {
		return nil, err
	}
	token, err := a.token(server)
	if err != nil {
		return nil, err
	}
	roots, err := a.roots(server, token)
	if err != nil {
		return nil, err
	}
	return a.dial(entropy.ClientConfig{Server: server, Token: token, RootCAs: roots})
}

// roots returns the authorities that may vouch for the server: those of the file
// that is named, or, for a token without a pin, that of the control plane on this
// host. Nil leaves it to the token's pin, or to the system's.
func (a *app) roots(server, token string) (*x509.CertPool, error) {
	if file := firstOf(a.global.caFile, a.env("ENTROPY_CA_FILE")); file != "" {
		return fabric.ReadRoots(file)
	}
	own := filepath.Join(a.dataDir(), identity.CACertFile)
	if _, err := os.Stat(own); err != nil || entropy.IsTicket(token) || !onLoopback(server) {
		return nil, nil
	}
	return fabric.ReadRoots(own)
}

// server returns the URL of the control plane.
func (a *app) server() (string, error) {
	if s := firstOf(a.global.server, a.env("ENTROPY_SERVER")); s != "" {
		return s, nil
	}
	return a.fileOr(filepath.Join(a.dataDir(), fabric.URLFile), defaultServer)
}

// token returns the credential to show to the server. The admin token of a
// control plane on this host is shown to a server on this host only: it must
// not leak to whatever address somebody was told to try.
func (a *app) token(server string) (string, error) {
	if a.global.tokenFile != "" {
		return readToken(a.global.tokenFile)
	}
	if t := strings.TrimSpace(a.env("ENTROPY_TOKEN")); t != "" {
		return t, nil
	}
	if file := a.env("ENTROPY_TOKEN_FILE"); file != "" {
		return readToken(file)
	}
	local, err := a.fileOr(filepath.Join(a.dataDir(), fabric.URLFile), defaultServer)
	if err != nil {
		return "", err
	}
	if server != local && !onLoopback(server) {
		return "", noToken(server).WithHint("set --token-file or ENTROPY_TOKEN_FILE to a copy of that control plane's admin.token")
	}
	file := filepath.Join(a.dataDir(), fabric.AdminTokenFile)
	token, err := a.fileOr(file, "")
	if err == nil && token == "" {
		err = noToken(server).WithHint("%s is not there: start a control plane with entropy up, or set --token-file or ENTROPY_TOKEN_FILE", file)
	}
	return token, err
}

func noToken(server string) *entropy.Error {
	return entropy.Errorf(entropy.CodeUnauthorized, "there is no token to show to %s", server)
}

// onLoopback reports whether a URL names this host by its loopback address.
func onLoopback(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// readToken reads a token from a file that must be there.
func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("the token file cannot be read: %v", err).WithHint("name a readable file with --token-file or ENTROPY_TOKEN_FILE")
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, "\r\n") || len(token) > 4096 {
		return "", usagef("%s does not hold a token", file).WithHint("it should hold one line, as the control plane's admin.token does")
	}
	if _, err := identity.Parse(token); err != nil { // whoever made it, no server would take it
		return "", entropy.Errorf(entropy.CodeInvalid, "%s: %s", file, entropy.AsError(err).Message).WithHint("%s", entropy.AsError(err).Hint)
	}
	return token, nil
}

// fileOr returns the trimmed content of a file, or other when it is not there.
func (a *app) fileOr(file, other string) (string, error) {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return other, nil
	case errors.Is(err, fs.ErrPermission):
		return "", entropy.Errorf(entropy.CodeForbidden, "%s is not readable by this user", file).WithHint(
			"run as the user of the control plane, or set ENTROPY_SERVER and ENTROPY_TOKEN_FILE")
	case err != nil:
		return "", err
	}
	if s := strings.TrimSpace(string(b)); s != "" {
		return s, nil
	}
	return other, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
