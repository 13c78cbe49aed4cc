#!/bin/bash
set -euo pipefail

# install.sh refuses to install a version twice.
if [[ ! -e /usr/local/FlashphonerWebCallServer ]]; then
  work=$(mktemp -d @SETUP_FOLDER@/install.XXXXXX)
  tar -xf @SETUP_FOLDER@/wcs -C "$work" --strip-components=1 --no-same-owner
  (cd "$work" && ./install.sh -silent)
  rm -rf "$work"
fi
rm @SETUP_FOLDER@/wcs
