#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh

systemctl daemon-reload
systemctl enable --quiet haproxy nginx wcs-balancer-sync
systemctl restart wcs-balancer-sync
