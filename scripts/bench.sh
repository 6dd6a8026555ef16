#!/usr/bin/env bash
# Runs the comparison in benches/, a package of its own so that what it compares with
# is no dependency of the crate. Prints everything in one run, about a quarter of an hour.
#
#   scripts/bench.sh [--quick] [--ten-million] [PART...]
#
# PART is time, allocations, memory, redis or outage; default: all of them. --quick measures less often and fewer
# sessions, to see that it works and not to judge by. --ten-million adds a row to memory, which takes 6 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

parts=()
options=()
for argument in "$@"; do
    case $argument in
        --quick | --ten-million) options+=("$argument") ;;
        time | allocations | memory | redis | outage) parts+=("$argument") ;;
        *)
            echo "There is no part \"$argument\": see scripts/bench.sh" >&2
            exit 2
            ;;
    esac
done
if ((!${#parts[@]})); then parts=(time allocations memory redis outage); fi

printf '%s, %s, %s cores, %s\n' "$(date -u +%F)" "$(uname -srm)" "$(nproc)" "$(rustc --version)"
(cd benches && cargo bench --no-run)
for part in "${parts[@]}"; do
    printf '\n=== %s\n\n' "$part"
    case $part in
        redis) bash scripts/bench_redis.sh "${options[@]}" ;;
        outage) bash scripts/bench_outage.sh "${options[@]}" ;;
        *) (cd benches && cargo bench --bench "$part" -- "${options[@]}") ;;
    esac
done
