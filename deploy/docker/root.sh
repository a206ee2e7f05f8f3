#!/bin/sh
# Writes the whole file system of the image as a tar file: root.sh TAR BINARY...
#
# That is the binaries, the C library that they were linked with (nothing else is linked dynamically), a user to run as and his
# data directory. There is no shell and no package manager in it, so nothing to keep up to date but Causeway itself.
set -eu
tar=$1
shift
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
uid=10001

mkdir -p "$root/usr/local/bin" "$root/etc" "$root/var/lib"
for binary; do
    install -m 755 "$binary" "$root/usr/local/bin/"
    strip "$root/usr/local/bin/$(basename "$binary")"
    # Each library where the loader looks for it, whatever links lead there.
    for library in $(ldd "$binary" | grep -o '/[^ ]*'); do
        [ -e "$root$library" ] || install -D -m 755 "$(readlink -f "$library")" "$root$library"
    done
done
echo "root:x:0:0::/:/nologin
causeway:x:$uid:$uid::/var/lib/causeway:/nologin" >"$root/etc/passwd"
echo "root:x:0:
causeway:x:$uid:" >"$root/etc/group"
echo "hosts: files dns" >"$root/etc/nsswitch.conf"

same="--sort=name --mtime=@0 --numeric-owner"
# shellcheck disable=SC2086
tar --create --file "$tar" $same --owner=0 --group=0 --directory "$root" .
install -d -m 700 "$root/data/var/lib/causeway"
# shellcheck disable=SC2086
tar --append --file "$tar" $same --owner=$uid --group=$uid --directory "$root/data" ./var/lib/causeway
install -d -m 1777 "$root/data/tmp"
# shellcheck disable=SC2086
tar --append --file "$tar" $same --owner=0 --group=0 --directory "$root/data" ./tmp
