#!/bin/bash
set -euo pipefail

install -d -m 0700 /etc/pki/tls
sysctl --quiet --load=/etc/sysctl.d/90-wcs-balancer.conf
systemctl daemon-reload
systemctl restart systemd-journald
for unit in haproxy nginx wcs-balancer-sync; do
  # To enable one takes a second, and some packages have done it.
  systemctl is-enabled --quiet "$unit" || systemctl enable --quiet --no-reload "$unit"
done
systemctl restart nginx wcs-balancer-sync
