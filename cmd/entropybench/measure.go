package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// startProfiles begins the profiles that were asked for, by file, "" for none,
// and returns a function that writes them.
func startProfiles(cpu, allocs string) (stop func(), err error) {
	ends := []func() error{}
	if cpu != "" {
		f, err := os.Create(cpu)
		if err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, err
		}
		ends = append(ends, func() error { pprof.StopCPUProfile(); return f.Close() })
	}
	if allocs != "" {
		f, err := os.Create(allocs)
		if err != nil {
			return nil, err
		}
		runtime.MemProfileRate = 64 << 10
		ends = append(ends, func() error {
			runtime.GC() // the profile is that of the last collection
			if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
				return err
			}
			return f.Close()
		})
	}
	return func() {
		for _, end := range ends {
			if err := end(); err != nil {
				fmt.Fprintln(os.Stderr, "entropybench:", err)
			}
		}
	}, nil
}

// cpuTime returns the processor time used so far by this process and by those it
// has waited for. Unlike jobs per second it hardly depends on what else the
// machine does.
func cpuTime() (total time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err == nil { // it has no other error than a wrong who
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}
