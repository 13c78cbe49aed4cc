#!/bin/bash
# What xinetd starts for each connection to port 9707: reads the thresholds that HAProxy sends with the
# check ("cpu 90 hls 100;", see agent-send) and runs the agent with them. Nothing comes from a telnet: then
# the agent checks its own six. A health check only connects and leaves: then nothing is answered.
set -u
export LC_ALL=C

readonly wait_seconds=0.2
readonly max_bytes=200

IFS= read -r -t "$wait_seconds" -n $((max_bytes + 1)) -d ';' request
status=$?

if [[ $status -eq 1 && -z $request ]]; then
  exit 0
elif [[ $status -gt 128 && -z $request ]]; then
  exec /usr/local/bin/haproxy-agent-check.sh
elif [[ $status -eq 0 && ${#request} -le $max_bytes &&
  $request =~ ^(\ *(cpu|publishers|subscribers|hls|band-in|band-out)(\ +[0-9]{1,9})?)+$ ]]; then
  # shellcheck disable=SC2086 # words, checked above
  exec /usr/local/bin/haproxy-agent-check.sh $request
fi
printf 'down #bad request\n'
