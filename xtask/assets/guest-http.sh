# guest-http.sh tls|plain PORT: an MCP client and its server over HTTP, inside OpenSSL's TLS (cert.pem and
# key.pem of this folder) or not. Prints what the client reads.
port=$2
rm -f to_client to_server
mkfifo to_client to_server

# Answers every request, whose body is a line.
serve() {
	while IFS= read -r line; do
		case $line in
		'{'*)
			id=${line#*\"id\":}
			body="{\"jsonrpc\":\"2.0\",\"id\":${id%%,*},\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}}"
			printf 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s\n' \
				$((${#body} + 1)) "$body"
			;;
		esac
	done
}

ask() {
	body="{\"jsonrpc\":\"2.0\",\"id\":$1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{}}}"
	printf 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s\n' \
		$((${#body} + 1)) "$body"
}

# Asks again when an answer has come.
drive() {
	asked=1
	ask 1
	while IFS= read -r line; do
		case $line in
		'{'*)
			echo "$line" >&2
			[ $asked -lt 5 ] || return 0
			asked=$((asked + 1))
			ask $asked
			;;
		esac
	done
	return 1
}

case $1 in
tls)
	listen() { openssl s_server -quiet -accept "127.0.0.1:$port" -cert cert.pem -key key.pem -naccept 1; }
	connect() { openssl s_client -quiet -no_ign_eof -connect "127.0.0.1:$port"; }
	;;
plain)
	listen() { busybox nc -l -p "$port"; }
	connect() { busybox nc 127.0.0.1 "$port"; }
	;;
esac
listen <to_client | serve >to_client &
# The server may not listen yet.
until connect <to_server 2>client.err | drive >to_server; do
	sleep 0.2
done
wait
