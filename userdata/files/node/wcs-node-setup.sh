#!/bin/bash
# Makes this machine a WCS node: first the agent, so that it can report a set-up that fails, then WCS.
# Run once by cloud-init; can be run again.
set -euo pipefail

readonly state_directory=/var/lib/wcs-node
readonly wcs=/usr/local/FlashphonerWebCallServer
# shellcheck source=/dev/null
source /etc/wcs-node/settings

step=start
begin() {
  step=$1
  echo "wcs-node-setup: $step"
  # Renamed into place, so that the agent never reads half a line.
  echo "setup running: $step" >"$state_directory/setup.new"
  mv "$state_directory/setup.new" "$state_directory/setup"
}
failed() {
  echo "wcs-node-setup: step '$step' failed" >&2
  echo "setup failed: $step" >"$state_directory/setup"
}
mkdir -p "$state_directory"
trap failed ERR

begin "agent"
grep -q '^haproxy-agent-check\b' /etc/services ||
  echo 'haproxy-agent-check 9707/tcp # haproxy-agent-check' >>/etc/services
systemctl enable --quiet xinetd
systemctl restart xinetd

if [[ -n $WCS_PACKAGE_URL ]]; then
  work=$(mktemp -d)
  begin "download of WCS"
  curl --fail --silent --show-error --location --retry 5 --retry-all-errors --retry-delay 2 --max-time 900 \
    --output "$work/wcs.tar.gz" "$WCS_PACKAGE_URL"
  begin "checksum of WCS"
  echo "$WCS_PACKAGE_SHA256 $work/wcs.tar.gz" | sha256sum --check --quiet
  begin "installation of WCS"
  mkdir "$work/wcs"
  tar -xzf "$work/wcs.tar.gz" -C "$work/wcs" --strip-components=1
  # install.sh refuses to install a version twice.
  [[ -e $wcs ]] || (cd "$work/wcs" && ./install.sh -silent)
  rm -rf "$work"
fi

begin "configuration of WCS"
/usr/local/sbin/wcs-set-properties "$wcs/conf/flashphoner.properties" \
  ws.port=8080 wss.port=8443 http.port=8081 \
  ws.map_custom_headers=true ws.ip_forward_header=X-Client-IP global_bandwidth_check_enabled=true

begin "start of WCS"
systemctl daemon-reload
systemctl enable --quiet webcallserver
systemctl restart webcallserver
curl --fail --silent --output /dev/null --retry 90 --retry-all-errors --retry-delay 2 --retry-max-time 180 \
  --max-time 5 'http://127.0.0.1:8081/?action=stat&format=json'

rm -f "$state_directory/setup"
echo "wcs-node-setup: done"
