#!/bin/bash
set -euo pipefail

install -m 0644 /usr/local/share/wcs-node/unattended-upgrades.conf /etc/apt/apt.conf.d/90wcs-balancer
