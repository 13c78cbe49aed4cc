#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh

grep -q '^haproxy-agent-check\b' /etc/services ||
  echo 'haproxy-agent-check 9707/tcp # haproxy-agent-check' >>/etc/services
id haproxy-agent >/dev/null 2>&1 ||
  useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin haproxy-agent
systemctl daemon-reload
systemctl enable --quiet xinetd
systemctl restart xinetd
