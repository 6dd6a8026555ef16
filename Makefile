# make install              install what the tests need (Debian packages), if it is missing
# make test                 everything that must pass: format, lints, tests, features, docs, set-ups
# make mutants              break one rule of src at a time and see that a test notices
# make mutants ONLY=03      the same, for mutants/03*.patch alone
# make bench                the comparison in benches/, next to other crates and to nothing: all of it, a quarter of an hour
# make bench ARGS="…"       parts of it (time allocations memory redis outage), or --quick, or memory with --ten-million
# make bench-redis          its part over Redis: rates, CPU, latency, what is asked of Redis, bytes a session
# make callgrind            instructions a request; fails if one of ours grew by 5 % (ARGS=--record, ARGS="--profile DIR")
# make bench-outage         a load that runs through an outage of Redis: what requests get, and whether any of it was wrong
# make bench-migrate        a million sessions of another system move here: rate, memory, and what it does to Redis

.PHONY: help install test mutants bench callgrind bench-redis bench-outage bench-migrate

help:
	@sed -n 's/^# //p' Makefile

install:
	@bash scripts/install.sh

test:
	@bash scripts/test.sh

mutants:
	@bash scripts/mutants.sh "$(ONLY)"

bench:
	@bash scripts/bench.sh $(ARGS)

callgrind:
	@bash scripts/callgrind.sh $(ARGS)

bench-redis:
	@bash scripts/bench_redis.sh $(ARGS)

bench-outage:
	@bash scripts/bench_outage.sh $(ARGS)

bench-migrate:
	@bash scripts/bench_migrate.sh $(ARGS)
