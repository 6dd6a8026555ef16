#!/usr/bin/env bash
# Breaks one rule of src at a time and sees that a test notices.
#
#   scripts/mutants.sh [PREFIX]     only mutants/PREFIX*.patch
#
# mutants/NN-name.patch is a unified diff (paths a/src/…, b/src/…). Above the diff stand
#   Breaks: <a sentence: the rule that no longer holds>
#   Caught by: <filters for cargo test, separated by spaces>
# The filtered tests must pass without the patch and fail with it. A patch that does not apply,
# does not compile or names no test is an error, not a catch. Works on a copy of the checkout,
# uncommitted changes included; the checkout itself is not touched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly time_limit=120 # seconds for one patch's tests; what takes longer hangs
work="$PWD/target/mutants"
tree="$work/tree"
log="$work/log"
all_tests="$work/tests"

# The build folder stays, so that dependencies are built once.
export CARGO_TARGET_DIR="$work/build"
# Reports of set-ups belong to `make test`.
unset SESSILE_SETUPS

tests=(test --all-features --lib --test suite)

fail() {
    echo "mutants: $*" >&2
    exit 1
}

# Every file that is tracked or about to be, as it is now.
take_snapshot() {
    local file
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do
            if [[ -e $file || -L $file ]]; then printf '%s\0' "$file"; fi
        done |
        tar --create --file "$work/snapshot.tar" --null --files-from -
}

# A new copy for every build, with new modification times: cargo goes by them, and would take the
# patched build before for this one if files came back with their old times.
fresh_tree() {
    rm -rf "$tree"
    mkdir -p "$tree"
    tar --extract --touch --file "$work/snapshot.tar" --directory "$tree"
}

# The examples too, for tests drive them as programs.
build() {
    (cd "$tree" && cargo build --quiet --all-features --examples && cargo "${tests[@]}" --no-run) >"$log" 2>&1
}

# run LIMIT FILTER...: into the log. In the background, so that an interrupt need not wait for it;
# `timeout` passes a signal on to the tests and what they started.
run() {
    local limit=$1
    shift
    (cd "$tree" && exec timeout --kill-after=10 "$limit" \
        cargo "${tests[@]}" --no-fail-fast -- "$@") >"$log" 2>&1 &
    running=$!
    local status=0
    wait "$running" || status=$?
    running=""
    return "$status"
}

running=""
stop() {
    if [[ -n $running ]]; then kill "$running" 2>/dev/null || true; fi
}
trap stop EXIT
trap 'exit 130' INT TERM

# head_line PATCH LABEL: the text after "LABEL: " above the diff.
head_line() {
    sed -n -e '/^diff --git /q' -e '/^--- /q' -e "s/^$2: *//p" "$1" | awk 'NR == 1'
}

# named PATTERN: the first three of the tests that the log names so, with commas.
named() {
    sed -n "s/^test \(.*\) $1\$/\1/p" "$log" | awk 'NR <= 3 { printf "%s%s", sep, $0; sep = ", " }'
}

failed_tests() {
    named '\.\.\. FAILED'
}

hanging_tests() {
    named 'has been running for over .*'
}

# judge STATUS: sets `result` and `note` from the exit code of the tests and their log.
judge() {
    local failed
    failed=$(failed_tests)
    case $1 in
        0) result="SURVIVED" ;;
        124 | 137)
            result="hangs"
            note="by $(hanging_tests)"
            ;;
        *)
            result="caught"
            note="by $failed"
            if [[ -z $failed ]]; then
                # No test was named: the test program died by a signal, or never ran.
                if grep -q '(signal: ' "$log"; then note="by a crash"; else result="DID NOT RUN" note=""; fi
            fi
            ;;
    esac
}

# try PATCH: sets `result` and `note`, a second line for its row.
try() {
    local -a filters
    local filter status=0
    note=""
    read -r -a filters <<<"$(head_line "$1" "Caught by")"
    if ((${#filters[@]} == 0)) || [[ -z $(head_line "$1" Breaks) ]]; then
        result="NO HEAD"
        return
    fi
    for filter in "${filters[@]}"; do
        if ! grep -qF -- "$filter" "$all_tests"; then
            result="NO TEST"
            note="no test's name contains $filter"
            return
        fi
    done
    fresh_tree
    if ! patch -p1 --batch --forward --no-backup-if-mismatch --directory "$tree" <"$1" >"$log" 2>&1; then
        result="NO APPLY"
    elif ! build; then
        result="NO COMPILE"
    else
        run "$time_limit" "${filters[@]}" || status=$?
        judge "$status"
    fi
}

# Failures of the tool show why; a survivor shows nothing, its tests all passed.
show_log() {
    tail -n 20 "$log" | sed 's/^/    | /'
}

shopt -s nullglob
patches=(mutants/"${1:-}"*.patch)
((${#patches[@]})) || fail "no patch: mutants/${1:-}*.patch"
bash scripts/install.sh git patch
bash scripts/install.sh

mkdir -p "$work"
take_snapshot

filters=()
for patch in "${patches[@]}"; do
    read -r -a words <<<"$(head_line "$patch" "Caught by")"
    filters+=("${words[@]}")
done

echo "unpatched: building"
fresh_tree
build || { show_log; fail "does not compile without a patch."; }
(cd "$tree" && cargo "${tests[@]}" -- --list 2>/dev/null) | sed -n 's/: test$//p' >"$all_tests"
# No filter at all would mean every test.
if ((${#filters[@]})); then
    echo "unpatched: running $(printf '%s\n' "${filters[@]}" | sort -u | paste -s -d ' ')"
    run 1800 "${filters[@]}" || { show_log; fail "the tests fail without a patch: $(failed_tests)"; }
fi
echo "unpatched: green after $SECONDS s"
echo

row() {
    printf '%-28s  %-11s  %6s  %s\n' "$1" "$2" "$3" "$4"
}

caught=0 bad=0
row "patch" "result" "time" "breaks, caught by"
for patch in "${patches[@]}"; do
    start=$SECONDS
    try "$patch"
    name=${patch##*/}
    row "${name%.patch}" "$result" "$((SECONDS - start)) s" "$(head_line "$patch" Breaks)"
    if [[ -n $note ]]; then row "" "" "" "  $note"; fi
    case $result in
        caught | hangs) caught=$((caught + 1)) ;;
        *) bad=$((bad + 1)) ;;
    esac
    case $result in
        "NO APPLY" | "NO COMPILE" | "DID NOT RUN") show_log ;;
    esac
done

echo
echo "$caught caught, $bad not, in $SECONDS s"
((bad == 0))
