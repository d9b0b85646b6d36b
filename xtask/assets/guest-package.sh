#!/bin/sh
# In a guest with systemd: the package's whole life. Every check says what it found.
exec >/dev/ttyS1 2>&1
failed=0
ok() { echo "ok: $*"; }
fail() { echo "FAILED: $*"; failed=1; }
# Waits until a command succeeds: emulation is slow.
within() { n=$1; shift; while [ "$n" -gt 0 ]; do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; n=$((n - 1)); done; return 1; }
field() { systemctl show -p "$1" --value mcpsonar.service; }
active() { [ "$(field ActiveState)" = active ]; }
started() { [ "$(field MainPID)" != "$1" ] && [ "$(field MainPID)" != 0 ]; }
changed() { [ "$(field MainPID)" != "$1" ] && [ "$(field MainPID)" != 0 ] && active; }
logged() { journalctl -u mcpsonar.service --no-pager | grep -q "$1"; }
alive() { mcpsonar ps --json >/dev/null; }
stty -F /dev/ttyS1 raw -echo
export DEBIAN_FRONTEND=noninteractive

dpkg --install /root/mcpsonar.deb || fail "the .deb does not install"
if within 600 active; then ok "installed and started"; else fail "not started: $(systemctl status mcpsonar.service)"; fi
[ "$(systemctl is-enabled mcpsonar.service)" = enabled ] && ok enabled || fail "not enabled"
within 300 alive && ok "answers on its socket" || fail "does not answer"
within 100 logged starting && ok "journald has its log" || fail "journald has no log"
pid=$(field MainPID)
[ "$(stat -c %U /proc/"$pid")" = mcpsonar ] && ok "runs as mcpsonar" || fail "runs as $(stat -c %U /proc/"$pid")"

if [ -e /sys/kernel/btf/vmlinux ]; then
	within 100 logged observing && ok "observes" || fail "does not observe: $(journalctl -u mcpsonar.service --no-pager | tail -n 20)"
	# What the unit declares, and nothing else: CAP_DAC_READ_SEARCH 2, CAP_SYS_PTRACE 19, CAP_SYS_ADMIN 21.
	for set in CapPrm CapEff CapBnd CapAmb; do
		is=$(sed -n "s/^$set:[[:space:]]*//p" /proc/"$pid"/status)
		[ "$is" = 0000000000280004 ] && ok "$set is as declared" || fail "$set is $is"
	done
	mcp-fixture client --script all --truth /root/truth.jsonl -- mcp-fixture server >/dev/null 2>&1 || fail "the client failed"
	calls=$(wc -l </root/truth.jsonl)
	counted() { mcpsonar report --since 1h --json | grep -q "\"total\":{\"calls\":$calls,"; }
	within 300 counted && ok "sees all $calls calls under the unit's fences" || fail "not $calls calls: $(mcpsonar report --since 1h | head -n 12)"
else
	within 100 logged "reduced mode" && ok "says that it is in reduced mode" || fail "does not say that it is in reduced mode"
	field StatusText | grep -q Reduced && ok "systemd knows" || fail "its status is: $(field StatusText)"
fi

# By systemd's own clock: asking it takes an emulated guest seconds. That it is ready takes longer still.
killed=$(awk '{ printf "%d", $1 * 1000 }' /proc/uptime)
kill -KILL "$pid"
within 600 started "$pid" || fail "not restarted after kill -9"
waited=$(($(field ExecMainStartTimestampMonotonic) / 1000 - killed))
[ "$waited" -le 2000 ] && ok "restarted within $waited ms of kill -9" || fail "restarted $waited ms after kill -9"
within 600 changed "$pid" || fail "not ready again after kill -9"
within 600 alive || fail "does not answer after its restart"

pid=$(field MainPID)
echo "# edited" >>/etc/mcpsonar/config.toml
dpkg --install /root/mcpsonar.deb || fail "the .deb does not upgrade"
within 600 changed "$pid" && ok "an upgrade restarts it" || fail "an upgrade does not restart it"
grep -q "# edited" /etc/mcpsonar/config.toml && ok "an upgrade keeps the configuration" || fail "an upgrade overwrites the configuration"
within 600 alive || fail "does not answer after the upgrade"

systemctl stop mcpsonar.service
[ "$(field Result)" = success ] && [ "$(field ExecMainStatus)" = 0 ] && ok "stops cleanly" || fail "stops with $(field Result), $(field ExecMainStatus)"
within 100 logged ended && ok "and says so" || fail "does not say that it ended"
systemctl start mcpsonar.service || fail "does not start again"
dpkg --remove mcpsonar || fail "cannot be removed"
active && fail "runs on after its removal" || ok "removed"
dpkg --purge mcpsonar || fail "cannot be purged"
[ -e /var/lib/mcpsonar ] && fail "a purge leaves the history" || ok purged
[ "$failed" = 0 ] || journalctl -u mcpsonar.service --no-pager | tail -n 60
echo "$failed" >/dev/ttyS2
sync
systemctl poweroff --force --force
