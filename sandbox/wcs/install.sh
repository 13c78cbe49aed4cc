#!/bin/bash
# Installs the WCS stand-in in the shape of the real installer: same checks, places and manners.
#   ./install.sh [-silent]
set -eu

cd "$(dirname "$0")"
version=$(cat VERSION)
target=/usr/local/FlashphonerWebCallServer-$version
link=/usr/local/FlashphonerWebCallServer

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

[[ $EUID -eq 0 ]] || fail "root is needed"
for command in curl sed grep awk df useradd cp ps openssl java; do
  command -v "$command" >/dev/null || fail "$command is not on PATH"
done
[[ -w /usr/local ]] || fail "/usr/local cannot be written"
free=$(df --output=avail -k /usr/local | tail -n 1)
[[ $free -ge 1048576 ]] || fail "1 GiB is needed in /usr/local"
[[ ! -e $target ]] || fail "version $version is already installed"

id flashphoner >/dev/null 2>&1 || useradd --system --home-dir "$target" --shell /usr/sbin/nologin flashphoner
mkdir "$target"
cp -r bin conf lib "$target"
mkdir -p "$target/logs/server_logs"
# The real one brings a certificate that no browser trusts either.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=localhost \
  -keyout "$target/conf/wss.key" -out "$target/conf/wss.crt" 2>/dev/null
chown -R flashphoner:flashphoner "$target"
ln -sfn "$target" "$link"
cp webcallserver.service /etc/systemd/system/webcallserver.service
echo "FlashphonerWebCallServer $version is installed; start it with: systemctl start webcallserver"
