#!/bin/bash
set -euo pipefail

install -d -m 0700 /etc/pki/tls
sysctl --quiet --load=/etc/sysctl.d/90-wcs-balancer.conf
systemctl daemon-reload
systemctl restart systemd-journald
systemctl enable --quiet haproxy nginx wcs-balancer-sync
systemctl restart nginx wcs-balancer-sync
