#!/usr/bin/env bash
# Over Redis: what each request asks of it, what a session takes in it, and requests a second with the application on
# one core, Redis and the load on another.
#
#   scripts/bench_redis.sh [--quick] [SECONDS [ROUNDS]]     of each measurement; default 4 and 5
#
# Every subject serves the same routes from one thread; `sessile-near` has a near cache, `sessile-alone` is without what carries on while Redis is away.
# All requests come from the same user agent: a change of it is more work for some of them.
# 64 connections ask in turn with the cookies of 64 sessions of signed-in users, so that a subject that loses parallel
# writes is not measured while it does. Rounds are interleaved; what is printed is the median of each, with the least and
# the most, and its ratio to the hand-written calls. CPU is the application's, user and system, by /proc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=4
rounds=5
numbers=()
for argument in "$@"; do
    case $argument in
        --quick) seconds=1 rounds=1 ;;
        --*) ;; # another part's
        *) numbers+=("$argument") ;;
    esac
done
seconds=${numbers[0]:-$seconds}
rounds=${numbers[1]:-$rounds}
sessions=64
agent="Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
# Those that keep no data are asked for the session alone.
subjects=(floor hand-written sessile sessile-near sessile-alone tower-sessions axum_session actix-session session-guard)
readers=(hand-written sessile sessile-near sessile-alone tower-sessions axum_session actix-session)

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

printf '%s; %s\n' "$(date -u +%F)" "$(redis-server --version | cut -d' ' -f3)"
"$program" count "$url"
redis-cli -p "$port" flushall >/dev/null

# wrk asks with every session in turn, and tells in a line of its own what it found.
cat >"$work/turns.lua" <<'LUA'
local requests, turn = {}, 0
function init(arguments)
  local cookies = {}
  for cookie in io.lines(arguments[1]) do
    cookies[#cookies + 1] = cookie
  end
  -- Another number each time that a session comes: some write nothing where what is written is there already.
  for round = 1, 16 do
    for number, cookie in ipairs(cookies) do
      requests[#requests + 1] = wrk.format(nil, nil,
        { Cookie = cookie, ["User-Agent"] = arguments[2], ["x-request-id"] = tostring(1000 * round + number) })
    end
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  io.write(string.format("result %d %d %d %.0f %.0f\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
LUA

# cookies_of: the cookies that a response on stdin sets, as a browser sends them back. One set to nothing is removed.
cookies_of() {
    tr -d '\r' | sed -n 's/^[Ss]et-[Cc]ookie: \([^;]*\).*/\1/p' | grep -v '=$' | paste -sd';' | sed 's/;/; /g'
}

# ask SUBJECT ROUTE COOKIE NUMBER: the body of the answer.
ask() {
    curl -sS -A "$agent" -H "Cookie: $3" -H "x-request-id: $4" "http://${address[$1]}$2"
}

fail() {
    echo "bench_redis: $*" >&2
    exit 1
}

declare -A address process
for subject in "${subjects[@]}"; do
    taskset -c 0 "$program" serve "$subject" "$url" >"$work/$subject.address" 2>"$work/$subject.log" &
    pids+=($!)
    process[$subject]=$!
    until [[ -s $work/$subject.address ]]; do
        kill -0 "${process[$subject]}" 2>/dev/null || fail "$subject: $(cat "$work/$subject.log")"
        sleep 0.05
    done
    read -r line <"$work/$subject.address"
    address[$subject]=$line
    : >"$work/$subject.cookies"
    if [[ $subject == floor ]]; then
        # What a browser with a session sends, to handlers that have none.
        echo "__Host-session=$(printf 'A%.0s' {1..43})" >"$work/floor.cookies"
        continue
    fi
    for ((n = 0; n < sessions; n++)); do
        curl -sS -A "$agent" -D - -o /dev/null -H "x-request-id: $n" "http://$line/enter" | cookies_of >>"$work/$subject.cookies"
    done
    (($(wc -l <"$work/$subject.cookies") == sessions)) || fail "$subject set no cookie"
done

# In clock ticks, of the whole process.
cpu() { sed 's/.*) //' "/proc/${process[$1]}/stat" | awk '{ print $12 + $13 }'; }
ticks=$(getconf CLK_TCK)

# load SUBJECT ROUTE: adds a line to a file: requests a second, application CPU a request in µs, p50 and p99 in µs.
# Fails if any was answered otherwise than 200.
load() {
    local before after out requests duration errors half most
    before=$(cpu "$1")
    out=$(taskset -c 1 wrk -t1 -c64 -d"${seconds}s" --latency -s "$work/turns.lua" "http://${address[$1]}$2" \
        "$work/$1.cookies" "$agent")
    after=$(cpu "$1")
    read -r _ requests duration errors half most < <(grep '^result ' <<<"$out")
    ((errors == 0)) || fail "$1 $2: $out"
    awk -v n="$requests" -v d="$duration" -v c="$((after - before))" -v t="$ticks" -v h="$half" -v m="$most" \
        'BEGIN { printf "%.0f %.2f %d %d\n", n * 1000000 / d, c * 1000000 / t / n, h, m }' >>"$work/$1${2//\//.}"
}

for ((round = 1; round <= rounds; round++)); do
    load floor /plain
    load floor /read
    load session-guard /plain
    for route in /read /write; do
        for subject in "${readers[@]}"; do load "$subject" "$route"; done
    done
done

# Nothing was measured that did not work: every session wrote a number, and what is written next is read next.
for subject in "${readers[@]}"; do
    number=0
    while read -r cookie; do
        number=$((number + 1))
        [[ $(ask "$subject" /read "$cookie" 0) == ok ]] || fail "$subject lost a session"
        # wrk wrote numbers into it that end with the session's own.
        last=$(ask "$subject" /last "$cookie" 0)
        ((last > 1000 && last % 1000 == number)) || fail "$subject lost a number"
        [[ $(ask "$subject" /me "$cookie" 0) == "user-$((number - 1))" ]] || fail "$subject lost a user"
        one=$cookie
    done <"$work/$subject.cookies"
    [[ $(ask "$subject" /write "$one" 4711) == ok ]] || fail "$subject does not write"
    [[ $(ask "$subject" /last "$one" 0) == 4711 ]] || fail "$subject lost a write"
done
number=0
while read -r cookie; do
    [[ $(ask session-guard /me "$cookie" 0) == "user-$number" ]] || fail "session-guard lost a user"
    number=$((number + 1))
done <"$work/session-guard.cookies"

# column FILE N: the median of a column, and the least and the most.
column() {
    cut -d' ' -f"$2" "$1" | sort -n |
        awk '{ a[NR] = $1 } END { printf "%s (%s–%s)", a[int((NR + 1) / 2)], a[1], a[NR] }'
}
median() { cut -d' ' -f"$2" "$1" | sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

# row SUBJECT ROUTE
row() {
    local file=$work/$1${2//\//.} ratio=""
    if [[ $2 != /plain ]]; then
        ratio=$(awk -v own="$(median "$file" 1)" -v hand="$(median "$work/hand-written${2//\//.}" 1)" \
            'BEGIN { printf "%.2f", own / hand }')
    fi
    printf '| %s | %s | %s | %s | %s | %s |\n' \
        "$1" "$(column "$file" 1)" "$ratio" "$(column "$file" 2)" "$(column "$file" 3)" "$(column "$file" 4)"
}

printf '\n%s rounds of %s s; median (least–most)\n' "$rounds" "$seconds"
for route in /plain /read /write; do
    case $route in
        /plain) title="no session, and a session that is only looked at" ;;
        *) title=${route#/} ;;
    esac
    printf '\nOver Redis: %s\n\n' "$title"
    printf '| subject | requests/s | × hand | application CPU a request, µs | p50, µs | p99, µs |\n|---|---|---|---|---|---|\n'
    if [[ $route == /plain ]]; then
        row floor /plain
        row session-guard /plain
    else
        # The same handler without a session.
        if [[ $route == /read ]]; then row floor /read; fi
        for subject in "${readers[@]}"; do row "$subject" "$route"; done
    fi
done
