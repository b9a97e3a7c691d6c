#!/bin/sh
# Runs avahi, on a message bus of its own, in the network namespace it is started
# in, and prints what it sees of Entropy and what it complains of. "ip netns exec"
# has given it a mount namespace: nothing of the machine's own avahi is touched.
#
#	avahi-browse.sh DIR      DIR is for its files
set -eu
dir=$1/avahi-$$
mkdir -p "$dir"
mount --make-rprivate /
mkdir -p /run/avahi-daemon
mount -t tmpfs tmpfs /run/avahi-daemon
chmod 755 "$1" "$dir"

cat >"$dir/bus.conf" <<CONF
<busconfig>
  <type>system</type>
  <listen>unix:path=$dir/bus</listen>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy>
</busconfig>
CONF
printf '[server]\nuse-ipv6=no\nallow-interfaces=eth0\n' >"$dir/avahi.conf"
export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$dir/bus"

dbus-daemon --config-file="$dir/bus.conf" --nofork 2>"$dir/bus.log" &
bus=$!
daemon=
trap 'kill $daemon $bus 2>/dev/null || true' EXIT INT TERM
n=50
until [ -S "$dir/bus" ]; do
	n=$((n - 1))
	[ $n -gt 0 ] || { cat "$dir/bus.log"; exit 1; }
	sleep 0.1
done
avahi-daemon -f "$dir/avahi.conf" --no-drop-root --no-chroot --no-rlimits >"$dir/avahi.log" 2>&1 &
daemon=$!
n=50
until grep -q "startup complete" "$dir/avahi.log"; do
	n=$((n - 1))
	[ $n -gt 0 ] || { cat "$dir/avahi.log"; exit 1; }
	sleep 0.1
done
n=10
until avahi-browse -rpt _entropy._tcp | grep '^='; do
	n=$((n - 1))
	[ $n -gt 0 ] || { cat "$dir/avahi.log"; exit 1; }
	sleep 0.3
done
grep -i "conflict\|withdraw" "$dir/avahi.log" || true
