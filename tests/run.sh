#!/usr/bin/env bash
# `make test`: every check and test, stage by stage. A stage that fails does not stop the next one; the last line sums up
# what the runners said of themselves, and a check without cases of its own (fmt, clippy, doc) counts as one.
set -euo pipefail
cd "$(dirname "$0")/.."

passed=0 failed=0 skipped=0
logs=target/test-logs
mkdir -p "$logs"
rm -f target/test-summary

finish() {
    echo "$passed passed, $failed failed, $skipped skipped" | tee target/test-summary
    [ "$failed" -eq 0 ]
}

# check TITLE SECONDS COMMAND...: one check, passed or failed by its exit code.
check() {
    local title=$1 limit=$2
    shift 2
    banner "$title"
    if timeout --kill-after=10 "$limit" "$@" 2>&1 | tee "$logs/${title// /-}.log"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $title"
    fi
}

# suite TITLE SECONDS COMMAND...: a runner whose closing lines say how many cases passed, failed and were skipped.
suite() {
    local title=$1 limit=$2 status=0 log
    shift 2
    banner "$title"
    log="$logs/${title// /-}.log"
    timeout --kill-after=10 "$limit" "$@" 2>&1 | tee "$log" || status=$?
    local p f s
    read -r p f s < <(awk -f tests/count.awk "$log")
    # A runner that broke before it counted anything (it did not compile, it ran out of time) is a failure too.
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1
    fi
    # A stage that ran nothing proves nothing.
    if [ $((p + f + s)) -eq 0 ]; then
        f=1
        echo "nothing ran"
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    [ "$f" -eq 0 ] || echo "FAILED: $title"
}

banner() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

check "setup" 900 tests/setup.sh
[ "$failed" -eq 0 ] || { finish; exit 1; }
check "tools" 60 .ci/tools
[ "$failed" -eq 0 ] || { finish; exit 1; }

test_names() { for file in tests/tests/"$1"*.rs; do [ ! -e "$file" ] || basename "$file" .rs | sed 's/^/--test=/'; done; }
mapfile -t conformance < <(test_names conformance)
mapfile -t fuzz < <(test_names fuzz)
mapfile -t interop < <(test_names interop)
quick=(cargo test --locked --no-fail-fast --quiet)

check "page" 600 make page
check "fmt" 60 cargo fmt --all --check
check "clippy" 1200 cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
check "doc" 900 env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
suite "layering" 900 "${quick[@]}" --package e2e --test layering
suite "web" 300 npm --prefix web-demo run --silent check
suite "unit" 1200 "${quick[@]}" --workspace --exclude e2e
suite "simulated" 600 "${quick[@]}" --package e2e --lib --test sim "${fuzz[@]}"
suite "conformance" 600 "${quick[@]}" --package e2e "${conformance[@]}"
# The same tests judge Kamailio, so that they say something about the RFC and not about our reading of it.
suite "conformance of Kamailio" 300 env SUBJECT=kamailio "${quick[@]}" --package e2e "${conformance[@]}"
check "load" 1500 make bench ROWS=basic
# One after the other: every case has a browser, and two cores give only one its real time.
suite "interop" 1500 cargo test --locked --no-fail-fast --package e2e "${interop[@]}" -- --test-threads=1

echo
finish
