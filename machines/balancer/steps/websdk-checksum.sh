#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh
# shellcheck source=/dev/null
source /etc/wcs-balancer/settings

if [[ -n $WEBSDK_SHA256 ]]; then
  echo "$WEBSDK_SHA256 /var/lib/wcs-setup/websdk.tar.gz" | sha256sum --check --quiet
fi
