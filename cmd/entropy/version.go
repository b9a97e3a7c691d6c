package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo is what version prints.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// programVersion returns the version of this binary: the linker's, the
// module's, or "dev".
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func buildVersion() versionInfo {
	v := versionInfo{Version: programVersion(), Revision: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  argument(0, 0, ""),
	}
	return a.command(c, func(context.Context, []string) error {
		v := buildVersion()
		return a.one(v, func() error {
			return a.printf("entropy %s (%s, %s, %s)\n", v.Version, v.Revision, v.Go, v.Platform)
		})
	})
}
