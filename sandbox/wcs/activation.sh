#!/bin/bash
# Activates the licence, in the shape of the real script: activation.sh KEY writes conf/flashphoner.license.
home=/usr/local/FlashphonerWebCallServer
[[ $# -eq 1 && $1 =~ ^[A-Za-z0-9-]+$ ]] || {
  echo "usage: activation.sh KEY" >&2
  exit 1
}
# Slow, as the real one asks a server: a test has time to look at the list of processes.
sleep 1
printf 'activated %s\n' "$1" >$home/conf/flashphoner.license
chmod 600 $home/conf/flashphoner.license
echo activated >>$home/logs/license.log
