# Traces one conversation with each tier of hooks, scores both, prints both.
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
	echo "--- tier $tier"
	cat /tmp/t$tier.jsonl
	echo "--- end"
done
[ $bad -eq 0 ] || mcpsonar doctor
exit $bad
