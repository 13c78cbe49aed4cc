#!/bin/bash
set -euo pipefail
# shellcheck source=/dev/null
source @NODE_SHELL_SETTINGS@

grep -q '^haproxy-agent-check\b' /etc/services ||
  echo 'haproxy-agent-check @AGENT_PORT@/tcp # haproxy-agent-check' >>/etc/services
id haproxy-agent >/dev/null 2>&1 ||
  useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin haproxy-agent
for unit in haproxy-agent-check.socket haproxy-agent-check@.service; do
  sed "s|@ALLOWED_ADDRESSES@|$ALLOWED_ADDRESSES|" "/usr/local/share/wcs-node/$unit" >"/etc/systemd/system/$unit"
done
systemctl daemon-reload
systemctl enable --quiet --no-reload --now haproxy-agent-check.socket
