#!/bin/sh
# Installs, starts, upgrades and purges the package in a clean Debian: test.sh BINARIES. As root. A tree made by debootstrap before
# can be named by BASE, which is left as it is.
set -eu
binaries=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
gateway=
clean() {
    [ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true
    umount "$work/root/proc" "$work/root" 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
step() { echo "package: $*"; }
fail() {
    echo "package: FAILED: $*" >&2
    exit 1
}

if [ -z "${BASE:-}" ]; then
    BASE=$work/base
    step "debootstrap"
    debootstrap --variant=minbase bookworm "$BASE" >"$work/log" 2>&1 || { tail "$work/log" >&2; fail debootstrap; }
fi
mkdir -p "$work/upper" "$work/work" "$work/root"
# What is done to it is above it.
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$work/upper,workdir=$work/work" "$work/root"
mount -t proc proc "$work/root/proc"
inside() { chroot "$work/root" "$@"; }
as_user() { inside setpriv --reuid causeway --regid causeway --clear-groups causeway "$@" --config /etc/causeway/causeway.toml; }
install_version() {
    package=$("$here/build.sh" "$binaries" "$1" "$work")
    cp "$package" "$work/root/tmp/causeway.deb"
    inside dpkg --force-confold --install /tmp/causeway.deb >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "dpkg --install $1"; }
}
# A network of its own: the default ports may be in use here.
start() {
    unshare --net sh -c 'ip link set lo up && exec chroot "$0" setpriv --reuid causeway --regid causeway --clear-groups \
        causeway run --config /etc/causeway/causeway.toml' "$work/root" >"$work/gateway.log" 2>&1 &
    gateway=$!
    for _ in $(seq 300); do
        as_user health >/dev/null 2>&1 && return
        kill -0 "$gateway" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/gateway.log" >&2
    fail "it does not become well"
}
stop() {
    as_user drain >/dev/null || fail "drain"
    wait "$gateway" || fail "it ended with $?"
    gateway=
}

step "install"
install_version 0.1.0
[ "$(inside stat -c '%U:%G %a' /etc/causeway/causeway.toml)" = "root:causeway 640" ] || fail "mode of the configuration"
[ "$(inside stat -c '%U:%G %a' /var/lib/causeway)" = "causeway:causeway 700" ] || fail "owner of the data directory"
as_user config check >/dev/null || fail "the configuration that comes with it"
for file in usr/share/man/man1/causeway.1.gz usr/share/man/man1/causeway-relay.1.gz \
    usr/share/bash-completion/completions/causeway lib/systemd/system/causeway.service \
    lib/systemd/system/causeway-relay.service usr/share/doc/causeway/examples/nftables/causeway.nft; do
    [ -s "$work/root/$file" ] || fail "no $file"
done
step "start"
start
echo secret-of-carol | as_user user add carol || fail "user add"
stop

step "upgrade"
echo '# changed by the operator' >>"$work/root/etc/causeway/causeway.toml"
install_version 0.1.1
grep -q 'changed by the operator' "$work/root/etc/causeway/causeway.toml" || fail "the configuration was replaced"
start
as_user user list | grep -q '^carol@' || fail "the accounts are gone"
stop

step "remove and purge"
inside dpkg --remove causeway >"$work/log" 2>&1 || fail "remove"
[ -e "$work/root/etc/causeway/causeway.toml" ] && [ -e "$work/root/var/lib/causeway/causeway.sqlite" ] || fail "remove took too much"
inside dpkg --purge causeway >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "purge"; }
for left in etc/causeway var/lib/causeway usr/bin/causeway usr/share/doc/causeway; do
    [ ! -e "$work/root/$left" ] || fail "$left is left"
done
! inside getent passwd causeway >/dev/null || fail "the user is left"
step "passed"
