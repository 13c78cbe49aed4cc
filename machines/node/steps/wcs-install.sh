#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh

# install.sh refuses to install a version twice.
if [[ ! -e /usr/local/FlashphonerWebCallServer ]]; then
  mkdir /var/lib/wcs-setup/wcs
  tar -xzf /var/lib/wcs-setup/wcs.tar.gz -C /var/lib/wcs-setup/wcs --strip-components=1 --no-same-owner
  (cd /var/lib/wcs-setup/wcs && ./install.sh -silent)
fi
rm -rf /var/lib/wcs-setup/wcs /var/lib/wcs-setup/wcs.tar.gz
