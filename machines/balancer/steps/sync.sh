#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh

# Written before the packages came, and after journald and the kernel's settings were set up.
install -d -m 0700 /etc/pki/tls
sysctl --quiet --load=/etc/sysctl.d/90-wcs-balancer.conf
systemctl daemon-reload
systemctl restart systemd-journald
systemctl enable --quiet haproxy nginx wcs-balancer-sync
systemctl restart wcs-balancer-sync
