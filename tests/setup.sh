#!/usr/bin/env bash
# Installs the Debian packages that the tests use and that are missing here; says in one line what it could not do.
set -euo pipefail

# command in PATH, or path of a file : Debian package that brings it
wanted="
chromium:chromium
baresip:baresip-core
kamailio:kamailio
/usr/lib/*/kamailio/modules/websocket.so:kamailio-websocket-modules
/usr/lib/*/kamailio/modules/tls.so:kamailio-tls-modules
/usr/share/kamailio/mysql/standard-create.sql:kamailio-mysql-modules
/usr/share/kamailio/postgres/standard-create.sql:kamailio-postgres-modules
/usr/lib/postgresql/*/bin/postgres:postgresql
mariadbd:mariadb-server
sqlite3:sqlite3
/usr/share/kamailio/db_sqlite/standard-create.sql:kamailio-sqlite-modules
rtpengine:rtpengine-daemon
rtpengine-ctl:rtpengine-utils
certutil:libnss3-tools
fail2ban-regex:fail2ban
nft:nftables
svmap:sipvicious
sipsak:sipsak
nginx:nginx
/usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream
haproxy:haproxy
caddy:caddy
pebble:pebble
cc:build-essential
cmake:cmake
"

missing=()
for row in $wanted; do
    command -v "${row%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${row%%:*}" ] || compgen -G "${row%%:*}" >/dev/null || missing+=("${row##*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

fail() {
    echo "setup: $1; the tests need these packages: ${missing[*]}" >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 || fail "no apt-get on this machine"
root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "not root and no sudo"
    root=(sudo)
fi

log=$(mktemp)
# A package's server must not start: it would take the ports the tests and the gateway use.
policy=/usr/sbin/policy-rc.d
cleanup() {
    [ "${made_policy:-no}" = no ] || "${root[@]}" rm -f "$policy"
    rm -f "$log"
}
trap cleanup EXIT
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
    "${root[@]}" chmod 755 "$policy"
fi

echo "setup: installing ${missing[*]}"
apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
{ "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get failed (see above)"; }

# Nor at the next boot.
if command -v systemctl >/dev/null 2>&1; then
    for package in "${missing[@]}"; do
        case $package in
        kamailio | rtpengine-daemon | postgresql | mariadb-server | nginx | haproxy | caddy) "${root[@]}" systemctl disable "${package%-server}" >/dev/null 2>&1 || true ;;
        esac
    done
fi
