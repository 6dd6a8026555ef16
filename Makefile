# make install              install what the tests need (Debian packages), if it is missing
# make test                 everything that must pass: format, lints, tests, features, docs, set-ups
# make mutants              break one rule of src at a time and see that a test notices
# make mutants ONLY=03      the same, for mutants/03*.patch alone
# make bench                the comparison in benches/
# make bench ARGS="…"       the same, with arguments for it
# make bench-redis          requests a second over Redis, next to hand-written calls and another crate
# make bench-outage         a load that runs through an outage of Redis: what requests get, and whether any of it was wrong
# make bench-migrate        a million sessions of another system move here: rate, memory, and what it does to Redis

.PHONY: help install test mutants bench bench-redis bench-outage bench-migrate

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

bench-redis:
	@bash scripts/bench_redis.sh $(ARGS)

bench-outage:
	@bash scripts/bench_outage.sh

bench-migrate:
	@bash scripts/bench_migrate.sh $(ARGS)
