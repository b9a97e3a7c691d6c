#!/bin/sh
# Two hosts on one network find each other, run a job, and lose each other's cable.
# The hosts are network namespaces of this machine: it needs root and iproute2, and
# touches none of the machine's own networks.
#
#	two-hosts.sh PROGRAM      PROGRAM is the entropy binary
set -eu
program=$1
lab=ent$$
dir=$(mktemp -d)
pids=

finish() {
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	for pid in $pids; do wait "$pid" 2>/dev/null || true; done
	for host in one two switch; do # what a worker left running ends with its host
		ip netns pids "$lab-$host" 2>/dev/null | xargs -r kill -9
		ip netns del "$lab-$host" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap finish EXIT INT TERM

# on HOST COMMAND...: run a command on a host
on() {
	host=$1
	shift
	ip netns exec "$lab-$host" env XDG_STATE_HOME="$dir/$host" "$@"
}

# until_ok SECONDS COMMAND...: repeat a command until it succeeds
until_ok() {
	left=$(($1 * 5))
	shift
	while ! "$@" >"$dir/last" 2>&1; do
		left=$((left - 1))
		[ $left -gt 0 ] || { echo "never happened: $*" >&2; cat "$dir/last" "$dir"/*.log >&2; exit 1; }
		sleep 0.2
	done
}

# A switch, and two hosts that are plugged into it. They have addresses, no routes.
ip netns add "$lab-switch"
ip -n "$lab-switch" link add br0 type bridge forward_delay 0 mcast_snooping 0
ip -n "$lab-switch" link set br0 up
n=1
for host in one two; do
	ip netns add "$lab-$host"
	ip -n "$lab-$host" link set lo up
	ip -n "$lab-switch" link add "$host" type veth peer name eth0 netns "$lab-$host"
	ip -n "$lab-switch" link set "$host" master br0 up
	ip -n "$lab-$host" addr add 10.77.0.$n/24 dev eth0
	ip -n "$lab-$host" link set eth0 up
	n=$((n + 1))
done

echo "== host one: entropy control"
on one "$program" control --listen 0.0.0.0:7600 --profile fast >"$dir/control.log" 2>&1 &
pids="$pids $!"
until_ok 30 on one "$program" status

echo "== host two: entropy worker, with a token and no address"
on one "$program" token create --role join --uses 1 --ttl 1h >"$dir/join.token"
chmod 600 "$dir/join.token"
on two "$program" worker --name two --token-file "$dir/join.token" >"$dir/worker.log" 2>&1 &
pids="$pids $!"

echo "== a job, submitted on host one, runs on host two"
on one "$program" submit --wait --wait-timeout 60s -- true
alive() { on one "$program" members | grep -q "^two .* alive"; }
until_ok 30 alive
on one "$program" members

echo "== host two's cable is pulled"
ip -n "$lab-switch" link set two down
lost() { on one "$program" workers | grep -q "^two .*lost"; }
until_ok 30 lost
on one "$program" workers

echo "== and plugged in again"
ip -n "$lab-switch" link set two up
until_ok 30 alive
on one "$program" submit --wait --wait-timeout 60s -- true
on one "$program" net check
echo "== done"
