#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh
# shellcheck source=/dev/null
source /etc/wcs-balancer/settings

pages=/usr/share/nginx/html/wcs
rm -rf "$pages.new"
mkdir -p "$pages.new"
tar -xzf /var/lib/wcs-setup/websdk.tar.gz -C "$pages.new" --strip-components="$WEBSDK_STRIP_COMPONENTS" --no-same-owner
chmod -R u=rwX,go=rX "$pages.new"
# In its place only when it is whole.
rm -rf "$pages"
mv "$pages.new" "$pages"
rm /var/lib/wcs-setup/websdk.tar.gz
systemctl restart nginx

rm "$state_file"
echo "set-up: done"
