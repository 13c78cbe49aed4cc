#!/bin/bash
# Tells HAProxy whether this WCS node can take another client, in one line of its agent protocol:
#   up N%        yes; N falls from 100 towards 1 as the tightest check nears its threshold
#   up 0%        no new clients: a threshold is reached (open sockets and clients with a cookie stay)
#   down #why    broken: WCS does not answer, or its answer cannot be trusted
# After "up" comes the tightest check, "#cpu 95 of 90": HAProxy only shows it.
# The agent never answers ready, drain or maint: operators own the administrative state, and an agent's
# "ready" would undo their drain (HAProxy Configuration Manual, "agent-check").
# It always answers within a second, since HAProxy keeps the last answer for ever when none comes.
set -u
export LC_ALL=C

readonly setup_state=@SETUP_STATE@
readonly statistics_port=@NODE_STATISTICS_PORT@
readonly answer_seconds=0.5
readonly max_bytes=65536

usage() {
  cat <<USAGE
Usage: ${0##*/} [CHECK [THRESHOLD]]...
  cpu [N]          1-minute load average in percent of the processors (default 90)
  publishers [N]   published streams: WebRTC, RTMP, RTSP (default 100)
  subscribers [N]  played streams: WebRTC, RTMP, RTSP, WebSocket (default 100)
  hls [N]          HLS streams (default 100)
  band-in [N]      incoming bandwidth in Mbps (default 100)
  band-out [N]     outgoing bandwidth in Mbps (default 100)
  connections [N]  connections of clients to WCS, direct ones included (default 100)
Without arguments all but connections are checked, as in Flashphoner's guide. A node takes clients while every
value is below its threshold.

Example: ${0##*/} cpu 70 publishers 50
USAGE
}

down() {
  printf 'down #%s\n' "$1"
  exit 0
}

# Prints the HTTP status and the body of WCS's statistics. Runs in its own process, since bash cannot limit
# the time of a connection that WCS does not accept. Reads have no time limit either: bash would need two
# system calls for each byte.
fetch_statistics() {
  local line length='' code=''
  exec 4<>"/dev/tcp/127.0.0.1/$statistics_port" || return
  printf 'GET /?action=stat&format=json HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&4
  while IFS= read -r -u 4 line && [[ $line != $'\r' ]]; do
    case $line in
      HTTP/1.[01]\ [0-9][0-9][0-9]*) code=${line:9:3} ;;
      [Cc]ontent-[Ll]ength:\ [0-9]*) length=${line//[!0-9]/} ;;
    esac
  done
  [[ -n $length && ${#length} -lt 7 && $length -lt $max_bytes ]] || length=$max_bytes
  IFS= read -r -N "$length" -u 4 line
  printf '%s\n%s' "${code:-none}" "$line"
}

declare -A thresholds=()
# The launcher sets no_checks when it was asked for checks and knows none of them.
[[ $# -gt 0 || -n ${no_checks-} ]] || set -- cpu publishers subscribers hls band-in band-out
while [[ $# -gt 0 ]]; do
  case $1 in
    cpu) name=cpu limit=90 ;;
    # 100 is the guide's number for streams, and for connections its limit of the balancer (maxconn).
    publishers | subscribers | hls | band-in | band-out | connections) name=$1 limit=100 ;;
    help | --help | -h)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
  if [[ ${1-} =~ ^[0-9]{1,9}$ ]]; then
    limit=$((10#$1))
    shift
  fi
  thresholds[$name]=$limit
done

# The set-up's steps write this file until the node is complete, so the agent can name a step that failed.
if [[ -e $setup_state ]]; then
  read -r state <"$setup_state"
  down "${state:-setup incomplete}"
fi

read -r load _ </proc/loadavg
IFS=, read -r -a ranges </sys/devices/system/cpu/online
processors=0
for range in "${ranges[@]}"; do processors=$((processors + ${range#*-} - ${range%-*} + 1)); done

exec 3< <(fetch_statistics 2>/dev/null)
fetching=$!
IFS= read -r -t "$answer_seconds" -u 3 code || {
  [[ $? -gt 128 ]] || down "WCS does not answer on port $statistics_port"
  kill "$fetching" 2>/dev/null
  down "WCS hangs: no answer on port $statistics_port"
}
[[ $code == 200 ]] || down "WCS statistics answer with HTTP status $code"
IFS= read -r -N "$max_bytes" -u 3 statistics && down "WCS statistics are too long"

checks=''
for name in "${!thresholds[@]}"; do checks+="$name ${thresholds[$name]} "; done

# The sums are those of Flashphoner's guide, which has no connections. A missing or absurd field is an error: a
# doubtful document never gives "up". Numbers may be numbers or text. awk replaces this shell, since starting jq
# alone costs more than all of this.
shopt -s execfail
# shellcheck disable=SC2093 # what follows runs only when awk cannot
exec awk -v checks="$checks" -v load="$load" -v processors="$processors" '
  function fail(why) {
    print "down #WCS statistics: " why
    exit
  }
  # Takes the next token of the JSON text. A window, not the whole rest, keeps a long text from taking long.
  function take(  window) {
    while (match(window = substr(text, at, 300), /^[ \t\r\n]+/)) at += RLENGTH
    if (!match(window, /^([][{},:]|"([^"\\]|\\.)*"|-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|true|false|null)/)) {
      token = ""
      return
    }
    token = substr(window, 1, RLENGTH)
    at += RLENGTH
  }
  # Reads the value that begins with the token, and remembers what stands where.
  function value(path, depth,  key, close_) {
    if (depth > 8) fail("unreadable or incomplete")
    if (token == "{" || token == "[") {
      close_ = token == "{" ? "}" : "]"
      take()
      if (token == close_) return
      while (1) {
        key = ""
        if (close_ == "}") {
          if (token !~ /^"/) fail("unreadable or incomplete")
          key = substr(token, 2, length(token) - 2)
          take()
          if (token != ":") fail("unreadable or incomplete")
          take()
        }
        value(path "/" key, depth + 1)
        take()
        if (token == close_) return
        if (token != ",") fail("unreadable or incomplete")
        take()
      }
    }
    if (token !~ /^["0-9tfn-]/) fail("unreadable or incomplete")
    gsub(/"/, "", token)
    found[path] = token
  }
  function field(group, name,  number) {
    number = found["/" group "/" name]
    if (number !~ /^ *[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)? *$/ || number + 0 >= 1e12) fail("no usable " name)
    return number + 0
  }
  function sum(names,  parts, count, total) {
    count = split(names, parts, " ")
    while (count) total += field("streams_stats", "streams_" parts[count--])
    return total
  }
  function measure(check) {
    if (check == "cpu") return load * 100 / processors
    if (check == "publishers") return sum("webrtc_in rtmp_in rtsp_in rtsp_push_in")
    if (check == "subscribers") return sum("webrtc_out rtmp_out rtmp_client_out rtsp_out websocket_out")
    if (check == "hls") return sum("hls")
    if (check == "connections") return field("connections_stats", "connections")
    if (check == "band-in") return field("network_stats", "global_bandwidth_in")
    return field("network_stats", "global_bandwidth_out")
  }
  { text = text $0 "\n" }
  END {
    at = 1
    take()
    if (token != "{") fail("unreadable or incomplete")
    value("", 0)
    take()
    if (token != "" || at <= length(text)) fail("unreadable or incomplete")
    count = split(checks, words, " ")
    for (i = 1; i < count; i += 2) {
      number = measure(words[i])
      share = number >= words[i + 1] ? 1 : number / words[i + 1]
      if (share <= tightest) continue
      tightest = share
      # Without decimals: rounding could show a threshold as reached that is not.
      why = sprintf(" #%s %d of %d", words[i], number, words[i + 1])
    }
    percent = int(100 * (1 - tightest) + 1e-9)
    if (tightest < 1 && percent < 1) percent = 1
    print "up " percent "%" why
  }
' <<<"$statistics" 2>/dev/null
down "awk cannot run"
