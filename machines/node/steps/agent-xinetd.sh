#!/bin/bash
set -euo pipefail
# shellcheck source=/dev/null
source /etc/wcs-node/settings

grep -q '^haproxy-agent-check\b' /etc/services ||
  echo 'haproxy-agent-check 9707/tcp # haproxy-agent-check' >>/etc/services
sed "s|@ALLOWED_ADDRESSES@|$ALLOWED_ADDRESSES|" /usr/local/share/wcs-node/haproxy-agent-check.xinetd \
  >/etc/xinetd.d/haproxy-agent-check
systemctl enable --quiet xinetd
systemctl restart xinetd
