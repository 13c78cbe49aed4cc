#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh
# shellcheck source=/dev/null
source /etc/wcs-balancer/settings

download "$WEBSDK_URL" /var/lib/wcs-setup/websdk.tar.gz
