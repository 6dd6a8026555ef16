#!/usr/bin/env bash
# Runs the comparison in benches/, a package of its own so that what it compares with
# is no dependency of the crate.
#
#   scripts/bench.sh [ARGUMENT...]     handed on
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ! -f benches/Cargo.toml ]]; then
    echo "There is nothing to run: benches/Cargo.toml does not exist." >&2
    exit 1
fi

bash scripts/install.sh redis-server
cd benches
# The package has either bench targets or a program.
if grep -q '^\[\[bench\]\]' Cargo.toml; then
    exec cargo bench -- "$@"
fi
exec cargo run --release -- "$@"
