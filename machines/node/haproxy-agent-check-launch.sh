#!/bin/bash
# xinetd or systemd starts this for each connection to port @AGENT_PORT@. It reads the thresholds that HAProxy sends with
# the check ("cpu 90 hls 100;", see agent-send) and runs the agent with them. When nothing comes, as from a
# telnet, the agent checks the guide's six. A client that only connects and leaves gets no answer.
#
# A badly written or slow request must not take a node out. Unreadable parts are skipped: fewer checks can only
# make the answer better, and the next request, a second later, is judged again.
# -f: words of a request are not patterns for file names.
set -uf
export LC_ALL=C

readonly first_seconds=0.2
# Together with the agent's 0.5 s for WCS this leaves a busy machine 0.15 s of the second that an answer may take.
readonly rest_seconds=0.15
readonly max_request_bytes=200

# Puts an IPv4 address into REPLY, as a number.
number_of() {
  local IFS=.
  # shellcheck disable=SC2086 # to split it
  set -- $1
  REPLY=$(((10#$1 << 24) + (10#$2 << 16) + (10#$3 << 8) + 10#$4))
}

# Whether an address is in ALLOWED_ADDRESSES, a list of addresses and networks. Starts no further process.
is_allowed() {
  local address entry
  [[ " $ALLOWED_ADDRESSES " != *" $1 "* ]] || return 0
  [[ $1 =~ ^[0-9]+(\.[0-9]+){3}$ ]] || return 1
  number_of "$1"
  address=$REPLY
  for entry in $ALLOWED_ADDRESSES; do
    [[ $entry == */* ]] || continue
    number_of "${entry%/*}"
    (((address ^ REPLY) >> (32 - ${entry#*/}))) || return 0
  done
  return 1
}

if [[ -n ${ALLOWED_ADDRESSES-} ]] && ! is_allowed "${REMOTE_ADDR-}"; then
  exit 0
fi

IFS= read -r -t "$first_seconds" -n $((max_request_bytes + 1)) -d ';' request
status=$?
# On a busy machine the time can be over before this process gets a turn to read a request that has arrived.
if [[ $status -gt 128 ]] && { [[ -n $request ]] || read -r -t 0; }; then
  IFS= read -r -t "$rest_seconds" -n $((max_request_bytes + 1 - ${#request})) -d ';' rest
  status=$?
  request+=$rest
fi

if [[ -z $request && $status -eq 0 ]]; then
  # HAProxy's health check asks only whether the agent is alive. It takes any answer, so this one costs nothing.
  printf 'down #empty request\n'
  exit 0
elif [[ -z $request && $status -eq 1 ]]; then
  exit 0
elif [[ -z $request ]]; then
  set --
else
  if [[ ${#request} -gt $max_request_bytes ]]; then
    # Read the rest: unread bytes would reset the connection, and the answer would be lost.
    IFS= read -r -t 0.05 -N 4096 _
    status=142
  fi
  # In a request without an end, only checks with a complete number count.
  if [[ $status -gt 128 ]]; then
    [[ $request =~ ^.*[[:space:]][0-9]+[[:space:]] ]]
    request=${BASH_REMATCH[0]-}
  fi
  checks=()
  known=''
  for word in $request; do
    case $word in
      cpu | publishers | subscribers | hls | band-in | band-out | connections)
        checks+=("$word")
        known=yes
        ;;
      [0-9.+-]*)
        if [[ -n $known && $word =~ ^[0-9]{1,9}$ ]]; then
          checks+=("$word")
        elif [[ -n $known ]]; then
          # Drop the check: its default could be stricter than the number that cannot be read.
          unset 'checks[-1]'
        fi
        known=''
        ;;
      *) known='' ;;
    esac
  done
  # shellcheck disable=SC2034 # for the agent: without arguments it would check its six
  [[ ${#checks[@]} -gt 0 ]] || no_checks=yes
  set -- "${checks[@]}"
fi
# Runs in this shell, since another one would cost as much as the whole check.
source /usr/local/bin/haproxy-agent-check.sh
