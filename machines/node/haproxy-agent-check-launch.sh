#!/bin/bash
# What xinetd or systemd starts for each connection to port 9707: reads the thresholds that HAProxy sends with
# the check ("cpu 90 hls 100;", see agent-send) and runs the agent with them. When nothing comes, as from a
# telnet, the agent checks its own six. Who only connects and leaves gets no answer.
set -u
export LC_ALL=C

readonly request_seconds=0.2
readonly max_request_bytes=200

if [[ -n ${ALLOWED_ADDRESSES-} && " $ALLOWED_ADDRESSES " != *" ${REMOTE_ADDR-none} "* ]]; then
  exit 0
fi

IFS= read -r -t "$request_seconds" -n $((max_request_bytes + 1)) -d ';' request
status=$?

if [[ -z $request && $status -eq 1 ]]; then
  exit 0
elif [[ -z $request && $status -gt 128 ]]; then
  set --
elif [[ $status -eq 0 && ${#request} -le $max_request_bytes &&
  $request =~ ^(\ *(cpu|publishers|subscribers|hls|band-in|band-out)(\ +[0-9]{1,9})?)+\ *$ ]]; then
  # shellcheck disable=SC2086 # words, checked above
  set -- $request
else
  printf 'down #bad request\n'
  # What is left unread at the end would reset the connection, and the answer with it.
  [[ ${#request} -le $max_request_bytes ]] || read -r -t 0.1 -N 65536 _
  exit 0
fi
# In this shell: starting another would cost as much as the whole check.
source /usr/local/bin/haproxy-agent-check.sh
