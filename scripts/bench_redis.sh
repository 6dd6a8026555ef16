#!/usr/bin/env bash
# Requests a second over Redis: the application on one core, Redis and the load on another.
#
#   scripts/bench_redis.sh [SECONDS [ROUNDS]]     of each measurement; default 5 and 3
#
# Every subject serves the same routes from one thread; `sessile-alone` is without what carries on while Redis is away. 64 connections ask in turn with the cookies of
# 64 sessions, so that a subject that loses parallel writes is not measured while it does. Rounds are
# interleaved; what is printed is the median of each, and its ratio to the hand-written calls.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-5}
rounds=${2:-3}
sessions=64
subjects=(bare hand sessile sessile-alone tower-sessions)

bash scripts/install.sh redis-server wrk curl
(($(nproc) >= 2)) || {
    echo "Two cores are needed: one for the application, one for Redis and the load." >&2
    exit 1
}

work=$(mktemp -d)
pids=()
finish() {
    if ((${#pids[@]})); then kill "${pids[@]}" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

cd benches
program=$(cargo bench --bench redis --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*redis-[^"]*\)".*/\1/p' | tail -n 1)
cd ..
[[ -x $program ]] || { echo "The program was not built." >&2; exit 1; }

port=$((20000 + RANDOM % 10000))
taskset -c 1 redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$work" >"$work/redis.log" &
pids+=($!)
url="redis://127.0.0.1:$port/"
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.05; done

# wrk asks with every session in turn.
cat >"$work/turns.lua" <<'LUA'
local requests, turn = {}, 0
function init(arguments)
  for cookie in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, { Cookie = cookie })
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
LUA

declare -A address
for subject in "${subjects[@]}"; do
    taskset -c 0 "$program" "$subject" "$url" >"$work/$subject.address" 2>"$work/$subject.log" &
    pids+=($!)
    until [[ -s $work/$subject.address ]]; do sleep 0.05; done
    read -r line <"$work/$subject.address"
    address[$subject]=$line
    : >"$work/$subject.cookies"
    if [[ $subject == bare ]]; then
        echo "none=none" >"$work/bare.cookies"
        continue
    fi
    for ((n = 0; n < sessions; n++)); do
        curl -sS -D - -o /dev/null "http://$line/create" |
            tr -d '\r' | sed -n 's/^[Ss]et-[Cc]ookie: \([^;]*\).*/\1/p' >>"$work/$subject.cookies"
    done
done

# rate SUBJECT ROUTE: requests a second; fails if any was answered otherwise than 200.
rate() {
    local out
    out=$(taskset -c 1 wrk -t1 -c64 -d"${seconds}s" -s "$work/turns.lua" "http://${address[$1]}$2" "$work/$1.cookies")
    if grep -q 'Non-2xx\|Socket errors' <<<"$out"; then
        echo "$1 $2: $out" >&2
        exit 1
    fi
    awk '/Requests\/sec/ { print int($2) }' <<<"$out"
}

median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

for ((round = 1; round <= rounds; round++)); do
    rate bare /plain >>"$work/bare.plain"
    for route in read write; do
        for subject in hand sessile sessile-alone tower-sessions; do
            rate "$subject" "/$route" >>"$work/$subject.$route"
        done
    done
done

# What was written last can be read: nothing was measured that did not work.
for subject in hand sessile sessile-alone tower-sessions; do
    cookie=$(tail -n 1 "$work/$subject.cookies")
    [[ $(curl -sS -H "Cookie: $cookie" "http://${address[$subject]}/read") == ok ]] ||
        { echo "$subject lost a session" >&2; exit 1; }
done

printf '%s, %s rounds of %s s; %s\n\n' "$(date -u +%F)" "$rounds" "$seconds" "$(redis-server --version | cut -d' ' -f3)"
printf '%-16s %10s %8s %10s %8s\n' subject read/s ratio write/s ratio
hand_read=$(median "$work/hand.read") hand_write=$(median "$work/hand.write")
printf '%-16s %10s\n' "bare axum" "$(median "$work/bare.plain")"
for subject in hand sessile sessile-alone tower-sessions; do
    read_rate=$(median "$work/$subject.read") write_rate=$(median "$work/$subject.write")
    printf '%-16s %10d %8.2f %10d %8.2f\n' "$subject" \
        "$read_rate" "$(bc -l <<<"$read_rate / $hand_read")" \
        "$write_rate" "$(bc -l <<<"$write_rate / $hand_write")"
done
