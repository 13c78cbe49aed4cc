#!/bin/bash
# Tells HAProxy whether this WCS node can take another client, in one line of its agent protocol:
#   up N%        yes; N falls from 100 towards 1 as the tightest check nears its threshold
#   up 0%        no new clients: a threshold is reached (open sockets and clients with a cookie stay)
#   down #why    broken: WCS does not answer, or what it answers cannot be trusted
# It never says ready, drain or maint: the administrative state belongs to operators, and an agent's
# "ready" would undo their drain (HAProxy Configuration Manual, "agent-check").
set -u
export LC_ALL=C

readonly setup_state=/var/lib/wcs-node/setup
readonly statistics_port=8081
readonly read_seconds=0.6
readonly max_bytes=262144

usage() {
  cat <<USAGE
Usage: ${0##*/} [CHECK [THRESHOLD]]...
  cpu [N]          1-minute load average in percent of the processors (default 90)
  publishers [N]   published streams: WebRTC, RTMP, RTSP (default 100)
  subscribers [N]  played streams: WebRTC, RTMP, RTSP, WebSocket (default 100)
  hls [N]          HLS streams (default 100)
  band-in [N]      incoming bandwidth in Mbps (default 100)
  band-out [N]     outgoing bandwidth in Mbps (default 100)
Without arguments all six are checked. A node takes clients while every value is below its threshold.

Example: ${0##*/} cpu 70 publishers 50
USAGE
}

down() {
  printf 'down #%s\n' "$1"
  exit 1
}

declare -A thresholds=()
[[ $# -gt 0 ]] || set -- cpu publishers subscribers hls band-in band-out
while [[ $# -gt 0 ]]; do
  case $1 in
    cpu) name=cpu limit=90 ;;
    publishers | subscribers | hls | band-in | band-out) name=$1 limit=100 ;;
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

# Written by wcs-node-setup until the node is complete, so that a failed set-up says so here.
if [[ -e $setup_state ]]; then
  read -r state <"$setup_state"
  down "${state:-setup incomplete}"
fi

read -r load _ </proc/loadavg
processors=0
while read -r word _ && [[ $word == cpu* ]]; do
  [[ $word == cpu ]] || processors=$((processors + 1))
done </proc/stat

{ exec 3<>"/dev/tcp/127.0.0.1/$statistics_port"; } 2>/dev/null || down "WCS does not answer on port $statistics_port"
printf 'GET /?action=stat&format=json HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
IFS= read -r -N "$max_bytes" -t "$read_seconds" -u 3 response 2>/dev/null
status=$?
exec 3>&-
[[ $status -ne 0 ]] || down "WCS statistics too long"
[[ -n $response ]] || down "WCS statistics empty or too slow"
[[ $response =~ ^HTTP/1\.[01]\ ([0-9]{3}) ]] || down "WCS statistics unreadable"
[[ ${BASH_REMATCH[1]} == 200 ]] || down "WCS statistics answer HTTP ${BASH_REMATCH[1]}"

arguments=()
for name in "${!thresholds[@]}"; do arguments+=("$name" "${thresholds[$name]}"); done

# The sums are the ones of Flashphoner's guide. A field that is missing or absurd is an error: "up" never
# comes out of a doubt.
# shellcheck disable=SC2016 # the dollar signs are jq's
jq -r --arg load "$load" --arg processors "$processors" '
  def field($group; $name):
    (if type == "object" then .[$group] else null end)
    | (if type == "object" then .[$name] else null end)
    | (if type == "string" then (tonumber? // null) else . end)
    | if type == "number" and . >= 0 and . < 1e12 then .
      else error("no usable \($name) in the WCS statistics") end;
  def sum($names): [field("streams_stats"; "streams_" + $names[])] | add;
  def value($check):
    if $check == "cpu" then ($load | tonumber) * 100 / ($processors | tonumber)
    elif $check == "publishers" then sum(["webrtc_in", "rtmp_in", "rtsp_in", "rtsp_push_in"])
    elif $check == "subscribers" then
      sum(["webrtc_out", "rtmp_out", "rtmp_client_out", "rtsp_out", "websocket_out"])
    elif $check == "hls" then sum(["hls"])
    elif $check == "band-in" then field("network_stats"; "global_bandwidth_in")
    else field("network_stats"; "global_bandwidth_out") end;
  def percent($share): if $share >= 1 then 0 else [1, 100 - ($share * 100 | ceil)] | max end;

  . as $statistics
  | [range(0; $ARGS.positional | length; 2) as $at
     | ($ARGS.positional[$at + 1] | tonumber) as $threshold
     | ($statistics | value($ARGS.positional[$at])) as $value
     | if $value >= $threshold then 1 else $value / $threshold end]
  | "up \(percent(max))%"
' --args "${arguments[@]}" <<<"${response#*$'\r\n\r\n'}" 2>/dev/null |
  {
    read -r answer
    [[ $answer =~ ^up\ [0-9]{1,3}%$ ]] || down "WCS statistics unreadable or incomplete"
    printf '%s\n' "$answer"
  }
