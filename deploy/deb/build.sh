#!/bin/sh
# Makes the Debian package: build.sh BINARIES VERSION FOLDER. BINARIES is the folder with causeway and causeway-relay; the
# package comes to FOLDER, and its path is printed.
set -eu
binaries=$1 version=$2 folder=$3
here=$(cd "$(dirname "$0")" && pwd)
deploy=$here/..
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
architecture=$(dpkg --print-architecture)

# put MODE PATH: standard input as a file of the package.
put() {
    mkdir -p "$root/$(dirname "$2")"
    cat >"$root/$2"
    chmod "$1" "$root/$2"
}

for name in causeway causeway-relay; do
    strip -o "$root/binary" "$binaries/$name"
    put 755 "usr/bin/$name" <"$root/binary"
    rm "$root/binary"
    put 644 "lib/systemd/system/$name.service" <"$deploy/systemd/$name.service"
done
gateway=$root/usr/bin/causeway
"$gateway" man | gzip -9n | put 644 usr/share/man/man1/causeway.1.gz
"$root/usr/bin/causeway-relay" --man | gzip -9n | put 644 usr/share/man/man1/causeway-relay.1.gz
"$gateway" completions bash | put 644 usr/share/bash-completion/completions/causeway
"$gateway" completions zsh | put 644 usr/share/zsh/vendor-completions/_causeway
"$gateway" completions fish | put 644 usr/share/fish/vendor_completions.d/causeway.fish

# Commands of the operator find the data wherever he stands.
"$gateway" config sample | sed 's|^#data_directory = .*|data_directory = "/var/lib/causeway"|' |
    put 640 etc/causeway/causeway.toml
put 644 etc/causeway/relay.conf <"$deploy/systemd/relay.conf"

documents=usr/share/doc/causeway
for example in fail2ban nftables proxies kubernetes docker docker-compose.yml; do
    (cd "$deploy" && find "$example" -type f) | while read -r file; do
        put 644 "$documents/examples/$file" <"$deploy/$file"
    done
done
put 644 "$documents/copyright" <"$here/copyright"
printf 'causeway (%s) stable; urgency=medium\n\n  * See README.md.\n\n -- Causeway <causeway@localhost>  %s\n' \
    "$version" "$(date -R -d "@${SOURCE_DATE_EPOCH:-0}")" | gzip -9n | put 644 "$documents/changelog.gz"

sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/" "$here/control" | put 644 DEBIAN/control
(cd "$root" && find etc -type f | sort | sed 's|^|/|') | put 644 DEBIAN/conffiles
for script in postinst prerm postrm; do
    put 755 "DEBIAN/$script" <"$here/$script"
done
package=$folder/causeway_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
