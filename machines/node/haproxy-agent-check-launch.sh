#!/bin/bash
# What xinetd or systemd starts for each connection to port 9707: reads the thresholds that HAProxy sends with
# the check ("cpu 90 hls 100;", see agent-send) and runs the agent with them. When nothing comes, as from a
# telnet, the agent checks its own six. Who only connects and leaves gets no answer.
#
# No question takes a node out by how it is written or how slowly it comes. What cannot be read is skipped, and
# fewer checks can only make the answer better: the rest counts again with the next question, a second later.
# -f: a word of a question is no pattern for file names.
set -uf
export LC_ALL=C

readonly first_seconds=0.2
# With the agent's 0.6 s for WCS all of it stays within a second.
readonly rest_seconds=0.15
readonly max_request_bytes=200

# Puts an IPv4 address into REPLY, as a number.
number_of() {
  local IFS=.
  # shellcheck disable=SC2086 # to split it
  set -- $1
  REPLY=$(((10#$1 << 24) + (10#$2 << 16) + (10#$3 << 8) + 10#$4))
}

# Whether an address is among ALLOWED_ADDRESSES, which holds addresses and networks. Without a process of its own.
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
# On a busy machine the time is up before this process has had its turn to read what is there.
if [[ $status -gt 128 ]] && { [[ -n $request ]] || read -r -t 0; }; then
  IFS= read -r -t "$rest_seconds" -n $((max_request_bytes + 1 - ${#request})) -d ';' rest
  status=$?
  request+=$rest
fi

if [[ -z $request && $status -eq 0 ]]; then
  # HAProxy's health check, which takes any answer: it asks whether the agent is there, and that costs nothing.
  printf 'down #empty request\n'
  exit 0
elif [[ -z $request && $status -eq 1 ]]; then
  exit 0
elif [[ -z $request ]]; then
  set --
else
  if [[ ${#request} -gt $max_request_bytes ]]; then
    # What is left unread at the end would reset the connection, and the answer with it.
    IFS= read -r -t 0.05 -N 4096 _
    status=142
  fi
  # Of a question without its end only checks count whose number is known to be whole.
  if [[ $status -gt 128 ]]; then
    [[ $request =~ ^.*[[:space:]][0-9]+[[:space:]] ]]
    request=${BASH_REMATCH[0]-}
  fi
  checks=()
  known=''
  for word in $request; do
    case $word in
      cpu | publishers | subscribers | hls | band-in | band-out)
        checks+=("$word")
        known=yes
        ;;
      [0-9.+-]*)
        if [[ -n $known && $word =~ ^[0-9]{1,9}$ ]]; then
          checks+=("$word")
        elif [[ -n $known ]]; then
          # Its default might be stricter than the number that cannot be read.
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
# In this shell: starting another would cost as much as the whole check.
source /usr/local/bin/haproxy-agent-check.sh
