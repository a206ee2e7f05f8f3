#!/usr/bin/env bash
# `make fuzz`: every target for SECONDS seconds, by cargo-fuzz where there is a nightly compiler, else by mutations of the corpus
# alone, which finds less. The first input that breaks something ends it and is named.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:?seconds for each target}
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.toml | grep -vx e2e-fuzz)
fi
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "SECONDS must be a number of seconds for each target, not \"$seconds\"" >&2; exit 1; }
for target in "${targets[@]}"; do
    [ -f "fuzz_targets/$target.rs" ] || { echo "there is no fuzz target $target: see tests/fuzz/fuzz_targets" >&2; exit 1; }
done

if ! cargo +nightly --version >/dev/null 2>&1; then
    why="no nightly compiler: rustup toolchain install nightly"
elif ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    why="no cargo-fuzz: cargo install cargo-fuzz"
fi
if [ -n "${why:-}" ]; then
    echo "without coverage ($why)"
    for target in "${targets[@]}"; do
        echo "== $target, $seconds s"
        FUZZ_SECONDS=$seconds cargo test --quiet --release --locked --manifest-path ../../Cargo.toml --package e2e \
            --test fuzz_smoke -- --exact "$target"
    done
    echo "${#targets[@]} targets, $seconds s each: nothing broke"
    exit 0
fi

for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    mkdir -p "found/$target"
    # What it finds goes into the first folder, and is kept for the next time.
    cargo +nightly fuzz run --sanitizer none "$target" "found/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=0 -verbosity=0
done
echo "${#targets[@]} targets, $seconds s each: nothing broke"
