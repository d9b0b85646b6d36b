# Traces conversations over stdio, HTTP and HTTPS with each tier of hooks, scores them, prints all.
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
[ $bad -eq 0 ] || mcpsonar doctor
exit $bad
