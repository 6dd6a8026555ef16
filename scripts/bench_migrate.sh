#!/usr/bin/env bash
# Migrates a million sessions of the Python platform: how long it takes, how much memory the program needs, and which
# commands took Redis longer than 10 ms.
#
#   scripts/bench_migrate.sh [SESSIONS]     default 1,000,000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sessions=${1:-1000000}
bash scripts/install.sh redis-server
cargo build --release --features cli --bin sessile
program="${CARGO_TARGET_DIR:-target}/release/sessile"

work=$(mktemp -d)
pid=
finish() {
    if [[ -n $pid ]]; then kill "$pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

port=$((20000 + RANDOM % 10000))
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis.log" &
pid=$!
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.05; done

# Four sessions a user, as Python writes them, in the server's own protocol.
awk -v n="$sessions" 'function word(s) { return "$" length(s) "\r\n" s "\r\n" }
BEGIN {
    for (i = 0; i < n; i++) {
        user = "user_" int(i / 4)
        id = sprintf("%s_%.0f", user, 1741081542000 + i)
        text = sprintf("{\"session_id\": \"%s\", \"user_id\": \"%s\", \"created_at\": \"2025-03-04T09:45:42.886408\", \"last_accessed\": \"2025-03-04T09:45:42.886408\", \"data\": {\"email\": \"a@b\", \"cart\": [1, 2, 3], \"theme\": \"dark\"}}", id, user)
        printf "*5\r\n%s%s%s%s%s", word("SET"), word("session:" id), word(text), word("EX"), word("3600")
        printf "*3\r\n%s%s%s", word("SADD"), word("user_sessions:" user), word(id)
    }
}' | redis-cli -p "$port" --pipe | tail -n 1
redis-cli -p "$port" config set slowlog-log-slower-than 10000 >/dev/null
redis-cli -p "$port" config set slowlog-max-len 1000 >/dev/null
redis-cli -p "$port" slowlog reset >/dev/null

cpu() { redis-cli -p "$port" info cpu | awk -F: '/^used_cpu_(user|sys):/ { sum += $2 } END { print sum }'; }
before=$(cpu)
"$program" migrate --from legacy --redis "redis://127.0.0.1:$port" --yes &
migration=$!
most=0 ticks=0
while kill -0 "$migration" 2>/dev/null; do
    now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$migration/status" 2>/dev/null || true)
    if [[ -n $now ]]; then
        most=$now
        ticks=$(awk '{ print $14 + $15 }' "/proc/$migration/stat" 2>/dev/null || echo "$ticks")
    fi
    sleep 0.2
done
wait "$migration"
awk -v n="$sessions" -v own="$(awk -v t="$ticks" -v hz="$(getconf CLK_TCK)" 'BEGIN { print t / hz }')" \
    -v redis="$(awk -v a="$before" -v b="$(cpu)" 'BEGIN { print b - a }')" 'BEGIN {
    printf "%.1f s of a processor for it, %.1f s for Redis: ", own, redis
    printf "%.0f and %.0f millionths of a second a session; where each has a processor of its own, the longer counts\n",
        1e6 * own / n, 1e6 * redis / n
}'
echo "$((most / 1024)) MiB was the most that it needed"
echo "$(redis-cli -p "$port" slowlog len) commands took Redis longer than 10 ms"
# Microseconds, and the beginning of the command.
redis-cli -p "$port" slowlog get 10 | head -c 2000 || true
