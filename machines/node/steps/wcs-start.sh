#!/bin/bash
set -euo pipefail

systemctl enable --quiet --no-reload webcallserver
# For the unit that WCS has installed. After every change of units: until systemd has read them, each systemctl that an
# operator runs warns of them.
systemctl daemon-reload
# A restart, since an image with WCS in it has started WCS with its own configuration.
# Do not wait for it here: if metadata is away at the first try, systemd tries again.
systemctl restart --no-block webcallserver
curl --fail --silent --output /dev/null --retry 90 --retry-all-errors --retry-delay 2 --retry-max-time 180 \
  --max-time 5 'http://127.0.0.1:@NODE_STATISTICS_PORT@/?action=stat&format=json'
