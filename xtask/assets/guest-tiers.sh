# Traces conversations over stdio, HTTP and HTTPS with each tier of hooks, scores them, prints all. Then
# faults that need control groups of the unified hierarchy.
bad=0
for tier in 1 2; do
	echo "== tier $tier on $(uname -r)"
	mcpsonar trace --json -o /tmp/t$tier.jsonl --tier $tier --stats /tmp/stats$tier.json -- \
		mcp-fixture client --script basic --truth /tmp/truth$tier.jsonl -- mcp-fixture server \
		>/tmp/stdout$tier 2>/tmp/stderr$tier
	status=$?
	if [ $status -ne 0 ]; then
		bad=1
		echo "trace ended with status $status"
		tail -n 60 /tmp/stderr$tier
	fi
	if ! mcp-fixture score /tmp/truth$tier.jsonl /tmp/t$tier.jsonl; then
		bad=1
		echo "what tier $tier captured and lost:"
		cat /tmp/stats$tier.json
	fi
	for mode in plain tls; do
		mcpsonar trace --json -o /tmp/$mode$tier.all --tier $tier --stats /tmp/stats$tier.json -- \
			sh /root/guest-http.sh $mode 71$tier$((tier + 1)) >/tmp/stdout$tier 2>/tmp/stderr$tier
		# The pipes between the parts of either end look like stdio.
		[ $mode = tls ] && of='"tls":true' || of='"transport":"http"'
		grep "$of" /tmp/$mode$tier.all >/tmp/$mode$tier.jsonl
		whole=$(grep '"seen_by":\["client","server"\]' /tmp/$mode$tier.jsonl | grep -c '"outcome":"ok"')
		if [ "$whole" -ne 5 ]; then
			bad=1
			echo "$mode HTTP: $whole of 5 calls were seen, at both ends, as they were:"
			cat /tmp/$mode$tier.jsonl /tmp/stdout$tier /tmp/stats$tier.json
			tail -n 20 /tmp/stderr$tier
		fi
	done
	echo "--- tier $tier"
	cat /tmp/t$tier.jsonl /tmp/plain$tier.jsonl /tmp/tls$tier.jsonl
	echo "--- end"
done
# A tool whose calls are all slow for one reason.
fault() {
	mcpsonar trace --no-tls --json -o /tmp/fault.jsonl -- \
		mcp-fixture client --script work --tool "$1" --ms "$2" --calls 20 -- mcp-fixture server \
		>/tmp/stdout 2>/tmp/stderr
	right=$(grep "\"tool\":\"$1\"" /tmp/fault.jsonl | grep -c "\"dominant_cause\":\"$3\"")
	echo "== $1: $right of 20 calls were due to $3"
	if [ "$right" -lt 19 ]; then
		bad=1
		grep "\"tool\":\"$1\"" /tmp/fault.jsonl | grep -v "\"dominant_cause\":\"$3\"" | head -n 2
		tail -n 5 /tmp/stderr
	fi
}
fault reclaim 200 memory
fault throttle 20 throttled
# The client waits for the end of its input; the server has less memory than it takes meanwhile.
until_killed() {
	seconds=0
	while [ $seconds -lt 90 ] && ! grep -q '"flag":"oom_killed"' /tmp/oom.events; do
		sleep 1
		seconds=$((seconds + 1))
	done 2>/dev/null
}
until_killed | mcpsonar trace --no-tls --json -o /tmp/oom.jsonl --events /tmp/oom.events -- \
	mcp-fixture hold --call grow --ms 60000 -- mcp-fixture server --limit-memory 64 >/tmp/stdout 2>/tmp/stderr
if ! grep '"flag":"oom_killed"' /tmp/oom.events | grep '"kind":"process"' | grep -q '"pending":1'; then
	bad=1
	echo "the kill for want of memory was not told of with its call:"
	cat /tmp/oom.events /tmp/stderr
fi
[ $bad -eq 0 ] || mcpsonar doctor
exit $bad
