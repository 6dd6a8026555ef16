#!/usr/bin/env bash
# Everything that must pass, in this order; stops at the first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Each must compile by itself; one line a combination.
feature_combinations=(
    ""
    "--no-default-features"
    "--no-default-features --features axum"
    "--no-default-features --features redis"
    "--no-default-features --features tls"
    "--no-default-features --features cluster"
    "--no-default-features --features sentinel,axum"
    "--no-default-features --features metrics"
    "--no-default-features --features admin"
    "--no-default-features --features cli"
    "--no-default-features --features test-util"
    "--all-features"
)

# What a user's build takes on with the default features, Redis and TLS among them, stays below this many crates, this one
# included.
crate_limit=119

# Tests write one file a set-up here, see scripts/setups.sh.
export SESSILE_SETUPS="$PWD/target/setups"
# What the test programs printed, for the list of what was skipped.
log="$PWD/target/test.log"

current="start"

step() {
    current=$1
    shift
    printf '\n=== %s\n' "$current"
    "$@"
}

finish() {
    local status=$?
    if ((status)); then
        printf '\n=== FAILED after %d s: %s\n' "$SECONDS" "$current" >&2
    else
        printf '\n=== passed in %d s\n' "$SECONDS"
    fi
}
trap finish EXIT

# require COMMAND COMPONENT: a cargo command that may not be installed.
require() {
    cargo "$1" --version >/dev/null 2>&1 || {
        echo "\`cargo $1\` is not installed; with rustup: rustup component add $2" >&2
        return 1
    }
}

check_tools() {
    command -v cargo >/dev/null || {
        echo "cargo was not found: install a Rust toolchain first." >&2
        return 1
    }
    require fmt rustfmt
    require clippy clippy
    bash scripts/install.sh
}

# What a whole run leaves in `target`, with room for the servers' files, in MiB. A compiler that runs out of it says something else.
disk_needed=3072

check_disk() {
    mkdir -p target
    local free
    free=$(df --output=avail -m target | tail -n 1 | tr -d ' ')
    echo "$free MiB free; a whole run takes up to $disk_needed"
    ((free >= disk_needed)) || {
        echo "That may be too little room on the disk of $PWD/target: if a step fails for want of it, make some." >&2
    }
}

empty_reports() {
    rm -rf "$SESSILE_SETUPS" "$log"
    mkdir -p "$SESSILE_SETUPS"
}

# Most tests of the suite wait for servers, and use no processor meanwhile: twice as many at a time as there are. The lowest
# is for machines with one.
export RUST_TEST_THREADS=$(($(nproc) * 2 > 4 ? $(nproc) * 2 : 4))

# A clean checkout is built once: what only a second build can use would be half of what it writes.
if [[ ${CI:-} == true ]]; then
    export CARGO_INCREMENTAL=0
fi

# Tests drive the examples as programs, and `cargo test --tests` does not build them.
suite() {
    cargo build --all-features --examples
    cargo test --all-features --tests --example custom_store --example showcase | tee -a "$log"
}

# Sessions of other crates, made by them: a package of its own, for they bring many crates along.
other_crates() {
    cargo test --manifest-path tests/peers/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/peers" -- --nocapture | tee -a "$log"
}

doc_tests() {
    cargo test --doc --all-features | tee -a "$log"
}

features() {
    local combination
    local -a flags
    for combination in "${feature_combinations[@]}"; do
        read -r -a flags <<<"$combination"
        echo "--- cargo clippy ${combination:-(default features)}"
        cargo clippy "${flags[@]}" -- -D warnings
    done
}

docs() {
    RUSTDOCFLAGS="-D warnings -D rustdoc::broken_intra_doc_links" cargo doc --no-deps --all-features
}

# A crate is a name and a version: `cargo tree` lists one as often as it is used.
crates() {
    local count
    count=$(cargo tree -e normal --prefix none | awk 'NF { print $1, $2 }' | sort -u | wc -l)
    echo "$count crates with the default features; fewer than $crate_limit are allowed"
    ((count < crate_limit))
}

# Names every test that was ignored.
skipped() {
    local names
    names=$(sed -n 's/^test \(.*\) \.\.\. ignored\(.*\)$/  \1\2/p' "$log")
    if [[ -z $names ]]; then
        echo "skipped: nothing"
    else
        printf 'skipped:\n%s\n' "$names"
    fi
}

step "tools" check_tools
step "disk" check_disk
empty_reports
step "format: cargo fmt --check" cargo fmt --check
step "lints: cargo clippy" cargo clippy --all-targets --all-features -- -D warnings
step "tests: cargo test" suite
step "sessions of other crates: cargo test" other_crates
step "documentation tests: cargo test --doc" doc_tests
step "features: cargo clippy" features
step "documentation: cargo doc" docs
step "dependencies: cargo tree" crates
step "set-ups" bash scripts/setups.sh "$SESSILE_SETUPS"
step "end" skipped
