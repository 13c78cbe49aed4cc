#!/bin/bash
set -euo pipefail
# shellcheck source=/dev/null
source @NODE_SHELL_SETTINGS@

grep -q '^haproxy-agent-check\b' /etc/services ||
  echo 'haproxy-agent-check @AGENT_PORT@/tcp # haproxy-agent-check' >>/etc/services
id haproxy-agent >/dev/null 2>&1 ||
  useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin haproxy-agent
systemctl daemon-reload
sed "s|@ALLOWED_ADDRESSES@|$ALLOWED_ADDRESSES|" /usr/local/share/wcs-node/haproxy-agent-check.xinetd \
  >/etc/xinetd.d/haproxy-agent-check
# To enable it takes a second, and some packages have done it.
systemctl is-enabled --quiet xinetd || systemctl enable --quiet xinetd
systemctl restart xinetd
