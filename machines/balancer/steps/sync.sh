#!/bin/bash
set -euo pipefail

install -d -m 0700 /etc/pki/tls
sysctl --quiet --load=/etc/sysctl.d/90-wcs-balancer.conf
for unit in haproxy nginx wcs-balancer-sync; do
  # To enable one takes a second, and some packages have done it.
  systemctl is-enabled --quiet "$unit" || systemctl enable --quiet --no-reload "$unit"
done
# After every change of units: until systemd has read them, each systemctl that an operator runs warns of them.
systemctl daemon-reload
systemctl restart systemd-journald
systemctl restart nginx wcs-balancer-sync
