#!/bin/bash
# Makes this machine the balancer: the pages behind nginx, then the service that fetches everything else.
# Run once by cloud-init; can be run again.
set -euo pipefail

# shellcheck source=/dev/null
source /etc/wcs-balancer/settings

step=start
begin() {
  step=$1
  echo "wcs-balancer-setup: $step"
}
trap 'echo "wcs-balancer-setup: step \"$step\" failed" >&2' ERR

begin "version of HAProxy"
version=$(haproxy -v | sed -n '1s/^HAProxy version \([0-9.]*\).*/\1/p')
if [[ $(printf '%s\n' 3.0 "$version" | sort --version-sort | head --lines=1) != 3.0 ]]; then
  echo "HAProxy is $version; the balancer needs 3.0 or newer: choose another balancerAmi" >&2
  false
fi

begin "sync service"
systemctl daemon-reload
systemctl enable --quiet haproxy nginx wcs-balancer-sync
systemctl restart wcs-balancer-sync

begin "download of the WebSDK"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curl --fail --silent --show-error --location --retry 5 --retry-all-errors --retry-delay 2 --max-time 300 \
  --output "$work/websdk.tar.gz" "$WEBSDK_URL"
if [[ -n $WEBSDK_SHA256 ]]; then
  begin "checksum of the WebSDK"
  echo "$WEBSDK_SHA256 $work/websdk.tar.gz" | sha256sum --check --quiet
fi

begin "installation of the WebSDK"
pages=/usr/share/nginx/html/wcs
rm -rf "$pages.new"
mkdir -p "$pages.new"
tar -xzf "$work/websdk.tar.gz" -C "$pages.new" --strip-components="$WEBSDK_STRIP_COMPONENTS" --no-same-owner
chmod -R u=rwX,go=rX "$pages.new"
rm -rf "$pages"
mv "$pages.new" "$pages"

begin "start of nginx"
systemctl restart nginx
echo "wcs-balancer-setup: done"
