#!/bin/bash
source /usr/local/lib/wcs-setup/step.sh

grep -q '^haproxy-agent-check\b' /etc/services ||
  echo 'haproxy-agent-check 9707/tcp # haproxy-agent-check' >>/etc/services
systemctl enable --quiet xinetd
systemctl restart xinetd
