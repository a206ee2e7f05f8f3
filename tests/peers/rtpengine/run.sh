#!/usr/bin/env bash
# Runs rtpengine's own Perl tests against causeway-relay, each case by itself, and prints the sums by file and by feature.
# Their text is read from a checkout of sipwise/rtpengine, tag mr10.5.3.5, and cut up outside this tree.
#
#   RTPENGINE_SRC=CHECKOUT tests/peers/rtpengine/run.sh [--only REGEX] [--files main,pubsub] [--verbose]
#
# RELAY=PROGRAM judges another relay by the same cases, as RELAY=/usr/bin/rtpengine. Needs root (a network namespace).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
: "${RTPENGINE_SRC:?the directory of a checkout of sipwise/rtpengine, tag mr10.5.3.5}"

packages=(perl libppi-perl libjson-perl libbencode-perl libcrypt-rijndael-perl libcrypt-openssl-rsa-perl libdigest-crc-perl
    libdigest-hmac-perl libio-multiplex-perl libnet-interface-perl libsocket6-perl libtest2-suite-perl libwww-perl iproute2 gcc)
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    apt-get install --yes --no-install-recommends "${missing[@]}" >&2
fi

if [ -z "${RELAY:-}" ]; then
    cargo build --manifest-path "$top/Cargo.toml" --release --locked --quiet --package media --bin causeway-relay
    RELAY=$top/target/release/causeway-relay
fi
results=$top/target/peer-tests.json
mkdir -p "$top/target"
status=0
python3 "$here/suite.py" --tests "$RTPENGINE_SRC/t" --perl "$RTPENGINE_SRC/perl" --bin "$RELAY" --cases "$here/cases.txt" \
    --out "$results" --timeout 30 "$@" || status=$?
python3 - "$results" <<'PYTHON'
import collections, json, sys

cases = [case for case in json.load(open(sys.argv[1]))["cases"] if not case["skipped"]]
sums = collections.defaultdict(lambda: [0, 0])
for case in cases:
    for feature in case["features"] or ["sdp-only"]:
        sums[feature][0] += case["passed"]
        sums[feature][1] += 1
print("\n".join(f"{feature:24s} {passed:4d}/{total}" for feature, (passed, total) in sorted(sums.items())))
PYTHON
exit "$status"
