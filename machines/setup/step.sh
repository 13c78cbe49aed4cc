# shellcheck shell=bash
# Sourced by each step of a machine's set-up. cloud-init runs the steps once, in the order of their names, and
# shows in `cloud-init status --long` the name of the one that failed. After a failure the others do nothing.
# With -E the trap below sees what fails inside a function, too.
set -Eeuo pipefail

readonly state_file=/var/lib/wcs-setup/state
step=${0##*/}
readonly step=${step#*-}

mkdir -p "${state_file%/*}"
if grep -qs '^setup failed' "$state_file"; then exit 0; fi

# Renamed into place, so that the agent, which answers with it, never reads half a line.
set_state() {
  echo "$1" >"$state_file.new"
  mv "$state_file.new" "$state_file"
}

trap 'echo "set-up: step $step failed" >&2; set_state "setup failed: $step"' ERR
echo "set-up: $step"
set_state "setup running: $step"

# Downloads an address to a file.
download() {
  curl --fail --silent --show-error --location --retry 5 --retry-all-errors --retry-delay 2 --max-time 900 \
    --output "$2" "$1"
}
