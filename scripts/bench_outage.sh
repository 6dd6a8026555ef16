#!/usr/bin/env bash
# A load that runs through an outage of Redis, five times for each fault: how soon it is noticed, what requests get
# meanwhile, how soon Redis is read again, and whether any answer was wrong. Exits with 1 if one was.
#
#   scripts/bench_outage.sh [--quick]     once for each fault
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh redis-server
cd benches
exec cargo bench --bench outage -- --run "$@"
