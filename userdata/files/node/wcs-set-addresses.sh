#!/bin/bash
# Writes this machine's addresses into WCS's configuration. Run before every start of WCS: nothing else
# detects them, and a stop and start of the instance changes the public one.
set -euo pipefail

readonly metadata=http://169.254.169.254/latest
readonly properties=/usr/local/FlashphonerWebCallServer/conf/flashphoner.properties

fetch() {
  curl --fail --silent --show-error --retry 5 --retry-all-errors --max-time 5 "$@"
}

echo "wcs-set-addresses: instance metadata"
token=$(fetch --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token")
private=$(fetch --header "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/local-ipv4")
public=$(fetch --header "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/public-ipv4")

echo "wcs-set-addresses: ip=$public ip_local=$private"
/usr/local/sbin/wcs-set-properties "$properties" "ip=$public" "ip_local=$private" hold_ip_settings=true
