#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh
# shellcheck source=/dev/null
source /etc/wcs-node/settings

echo "$WCS_PACKAGE_SHA256 /var/lib/wcs-setup/wcs.tar.gz" | sha256sum --check --quiet
