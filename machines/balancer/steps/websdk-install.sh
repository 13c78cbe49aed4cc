#!/bin/bash
set -euo pipefail
# shellcheck source=/dev/null
source @BALANCER_SHELL_SETTINGS@

pages=/usr/share/nginx/html/wcs
rm -rf "$pages.new"
mkdir -p "$pages.new"
tar -xf @SETUP_FOLDER@/websdk -C "$pages.new" --strip-components="$WEBSDK_STRIP_COMPONENTS" --no-same-owner

# The example pages would connect to port 8443 of this host. Make them use the page's own port instead. Bundles since
# August 2023 read SERVER_PORTS; older bundles and some pages have a fixed port.
find "$pages.new" -type f \( -name utils.js -o -name ports.js \) | while read -r script; do
  sed -i \
    -e 's/port = "8443";/port = window.location.port || "443";/' \
    -e 's/^\( *wss: \)8443,/\1Number(window.location.port) || 443,/' "$script"
  if grep -q 'portsConfig = SERVER_PORTS' "$script"; then
    sed -i '1i window.SERVER_PORTS = window.SERVER_PORTS || { wss: Number(window.location.port) || 443 };' "$script"
  fi
done

chmod -R u=rwX,go=rX "$pages.new"
# Replace the old pages only when the new ones are complete.
rm -rf "$pages"
mv "$pages.new" "$pages"
rm @SETUP_FOLDER@/websdk
