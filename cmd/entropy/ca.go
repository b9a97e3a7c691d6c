package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// authorityInfo is what `entropy ca show` prints.
type authorityInfo struct {
	File      string    `json:"file"`
	ClusterID string    `json:"cluster_id"`
	Pin       string    `json:"pin"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

func (a *app) caCommand() *cobra.Command {
	return a.group(&cobra.Command{Use: "ca", Short: "See the cluster's certificate authority"}, a.caShowCommand())
}

const caShowLong = `Show the authority of the control plane on this host: the cluster it is of, and
its pin, which every token made by the control plane carries. Where a client
has a token without a pin, give it the file by --ca-file or ENTROPY_CA_FILE.`

func (a *app) caShowCommand() *cobra.Command {
	var data string
	c := &cobra.Command{Use: "show", Short: "Show the authority's pin and validity", Long: caShowLong, Args: argument(0, 0, "")}
	c.Flags().StringVar(&data, "data", a.dataDir(), "data `DIR` of the control plane (default: as entropy control)")
	hideDefault(c.Flags(), "data")
	return a.command(c, func(context.Context, []string) error {
		path := filepath.Join(data, identity.CACertFile)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return entropy.Errorf(entropy.CodeNotFound, "%s is not there", path).WithHint("name the control plane's directory with --data; it is made at its first start")
		}
		if err != nil {
			return err
		}
		cert, err := identity.ParseCertificate(path, string(b))
		if err != nil {
			return err
		}
		info := authorityInfo{File: path, ClusterID: cert.Subject.SerialNumber, Pin: identity.PinOf(cert), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}
		return a.one(info, func() error {
			t := new(table)
			t.row("file", info.File)
			t.row("cluster", info.ClusterID)
			t.row("pin", info.Pin)
			t.row("valid", info.NotBefore.UTC().Format(time.DateOnly)+" to "+info.NotAfter.UTC().Format(time.DateOnly))
			return t.write(a.stdout)
		})
	})
}

const resetIdentityLong = `Make a worker's data directory forget which worker of which cluster it is: its
own key, the cluster's key, and its memory of the cluster. Started again, it joins
anew, for which it needs a join token, and a --name that no other worker has. Its
spool and the files of its jobs stay.

It is the cure for a disk that was cloned together with its worker, and the way
to move a worker to another cluster. Stop the worker first.`

func (a *app) resetIdentityCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:     "reset-identity",
		Short:   "Make a worker's data directory forget its cluster and its key",
		Long:    resetIdentityLong,
		Example: "  entropy worker reset-identity --data /var/lib/entropy/worker",
		Args:    argument(0, 0, ""),
	}
	c.Flags().StringVar(&data, "data", filepath.Join(a.dataDir(), "worker"), "data `DIR` of the worker (default: as entropy worker)")
	hideDefault(c.Flags(), "data")
	return a.command(c, func(context.Context, []string) error {
		if _, err := os.Stat(data); err != nil {
			return entropy.Errorf(entropy.CodeNotFound, "there is no worker's directory %s", data).WithHint("name it with --data")
		}
		removed, err := identity.Forget(data)
		if err != nil {
			return err
		}
		if len(removed) == 0 {
			return a.printf("%s holds no identity; nothing was changed\n", data)
		}
		return a.printf("removed %s from %s; start the worker again with a join token and a --name of its own\n", strings.Join(removed, ", "), data)
	})
}
