// Package boottime is the clock that a worker's trust in a lease is measured on:
// CLOCK_BOOTTIME, which goes on while the machine is suspended. Go's own
// monotonic clock stops then, so a deadline kept on it would move into the
// future by the length of the sleep.
//
// Readings are the same in every process of one boot, so they may be passed
// between them.
package boottime

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the time since the machine booted, suspended time included.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("boottime: clock_gettime: %v", err)) // in Linux since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// BootID returns the kernel's identifier of this boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Alarm wakes one goroutine at a time on the boot clock. It fires at once when
// its time passed during a suspend. Set may be called from any goroutine.
type Alarm struct{ f *os.File }

// NewAlarm returns an alarm that is not set.
func NewAlarm() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create alarm: %w", err)
	}
	return &Alarm{f: os.NewFile(uintptr(fd), "alarm")}, nil
}

// Set makes the alarm fire at a reading of the clock, at once if that has
// passed, and never if it is zero. It replaces what was set before.
func (a *Alarm) Set(at time.Duration) error {
	spec := unix.ItimerSpec{}
	if at != 0 {
		spec.Value = unix.NsecToTimespec(int64(max(at, 1)))
	}
	conn, err := a.f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := conn.Control(func(fd uintptr) { serr = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &spec, nil) }); err != nil {
		return err
	}
	return serr
}

// Wait blocks until the alarm fires, and returns an error once it is closed.
func (a *Alarm) Wait() error {
	var b [8]byte
	n, err := a.f.Read(b[:])
	if err == nil && (n != len(b) || binary.NativeEndian.Uint64(b[:]) == 0) {
		return fmt.Errorf("alarm: short read of %d bytes", n)
	}
	return err
}

// Close ends a Wait in progress.
func (a *Alarm) Close() error { return a.f.Close() }
