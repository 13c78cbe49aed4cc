#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh
# shellcheck source=/dev/null
source /etc/wcs-node/settings

download "$WCS_PACKAGE_URL" /var/lib/wcs-setup/wcs.tar.gz
