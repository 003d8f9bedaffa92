# One command each; `make test` is what continuous integration runs.
.DEFAULT_GOAL := help
.PHONY: help setup test mutants nab fuzz fmt tidy clippy deny second-engine metrics openapi slow \
	interop page instructions deploy image package rolling fleet instructions-record bench build \
	run deb sbom \
	replay load perf perf-floor perf-batches perf-contention perf-limits perf-forms perf-novelty \
	peers perf-peers \
	perf-load \
	perf-analyze perf-page perf-fleet perf-windows perf-scale perf-idle perf-tls profiles \
	flamegraphs \
	idle-connections greedy soak clean

# A latency is that of the servers and not of what else this machine does, where that is permitted.
realtime = $(shell chrt --fifo 10 true 2>/dev/null && echo chrt --fifo 10)

# How long a measurement or a soak takes: `make perf-peers SECONDS=1`, `make soak SECONDS=90`.
seconds = $(or $(SECONDS),$(1))

checks := tidy clippy deny second-engine metrics openapi slow interop page instructions deploy \
	image package rolling fleet

# The slow tests, of which a module is named.
slow := cargo nextest run --release --locked --profile slow --package corepulse --test slow

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 21

setup: ## Install what the checks need
	@ci/setup

test: ## Every check, cheap ones first: the same as CI
	@ci/all

mutants: ## Take out the rules by which windows move: the simulation has to notice each
	@ci/mutants

nab: ## Score what is told as new on the whole Numenta Anomaly Benchmark (NAB=folder of the series)
	@NAB="$(NAB)" ci/nab

fuzz: ## Each fuzz target for a minute, or for FUZZ_SECONDS
	@ci/fuzz

fmt: ## Lay out the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	cargo fmt --manifest-path perf/peers/Cargo.toml

$(checks): ## One check
	@ci/all $@

instructions-record: ## Record the instructions of each kind of request as they are now
	@ci/instructions --write

bench: ## Time each stage of a request, for comparing two states of the code on a quiet machine
	cargo bench --locked --bench stages

build: ## The server, optimised: target/release/corepulse
	cargo build --release --locked

deb: ## The Debian package, of the release build: target/debian/corepulse_*.deb
	cargo deb --locked --no-strip

sbom: ## What the server is made of, as CycloneDX: target/sbom/corepulse.cdx.json
	@ci/sbom

run: ## Serve on port 8080 from the embedded store
	cargo run --release --locked

replay: ## Post the series under tests/data/nab to a server on port 8080
	cargo run --release --locked -- replay tests/data/nab/ec2_cpu_*.csv \
		tests/data/nab/rds_cpu_*.csv --column cpu=value \
		--beside rps=tests/data/nab/elb_request_count_8c0756.csv

load: setup ## A minute of a fleet on the server and Redis: 1,000 requests/s, 95 % within 50 ms
	@ci/load

perf: ## Compare the server with a bare epoll loop, and the writer with redis-benchmark
	cargo build --release --locked --workspace
	target/release/compare --rounds 5 --seconds $(call seconds,2) --servers floor,corepulse
	target/release/redis-writer --rounds 5

perf-floor: ## The bare epoll loop against itself: the noise of this machine
	cargo build --release --locked --package corepulse-perf
	target/release/compare --rounds 5 --seconds $(call seconds,2) --servers floor,floor --no-record

perf-contention: ## How cores get in each other's way: seats, locks, counters, by up to 64 threads
	cargo build --release --locked --package corepulse-perf --bin contention
	target/release/contention

perf-limits: ## Limits of devices: what they cost, and one far over its limit beside polite ones
	cargo build --release --locked --package corepulse-perf --bin device-limits
	target/release/device-limits --seconds $(call seconds,5) --record

peers: ## The same job on may_minihttp, hyper, actix-web, axum and Go, and VictoriaMetrics beside
	@ci/peers

perf-peers: peers ## Compare the server with all of them, from memory and with Redis (20 minutes)
	cargo build --release --locked --workspace
	target/release/compare --rounds 5 --seconds $(call seconds,2) \
		--scenarios single,pipelined,ndjson --redis --name peers --record

perf-batches: peers ## Batches in each form, and VictoriaMetrics, which takes two (10 minutes)
	cargo build --release --locked --workspace
	target/release/compare --rounds 5 --seconds $(call seconds,2) \
		--servers floor,corepulse,hyper-serde,victoria-metrics \
		--scenarios ndjson,array,gzip,line-protocol,eight --name batches --record

perf-novelty: ## What the second judge costs in a batch: --novelty on beside off (2 minutes)
	cargo build --release --locked --workspace
	target/release/compare --servers corepulse --scenarios ndjson,line-protocol,eight \
		--arguments= --arguments="--novelty on" --devices 1000,100000 \
		--seconds $(call seconds,1) --rounds 5 --name novelty --record

perf-forms: ## What an event costs in each form of a body, and with other fields
	cargo build --release --locked --package corepulse-perf --bin forms
	target/release/forms

perf-load: ## Latency of an open loop with Redis: 1,000 requests/s, and half of saturation
	cargo build --release --locked --workspace
	$(realtime) target/release/compare --servers floor,corepulse --scenarios device --redis \
		--rate 1000 --seconds $(call seconds,20) --rounds 5 --name load-1000 --record
	$(realtime) target/release/compare --servers floor,corepulse --scenarios device --redis \
		--percent 50 --seconds $(call seconds,15) --rounds 3 --name load-half --record

perf-analyze: ## What /analyze with 100,000 devices costs while both cores are loaded (3 minutes)
	cargo build --release --locked --workspace
	target/release/compare --servers corepulse,corepulse --scenarios device --rate 20000 \
		--workers 2 --devices 100000 --beside /analyze --seconds $(call seconds,4) --rounds 9 \
		--name analyze --record

perf-page: ## What ten open pages cost at half of saturation, with 100,000 devices (6 minutes)
	cargo build --release --locked --workspace
	target/release/compare --servers corepulse,corepulse --scenarios hundred --percent 50 \
		--devices 100000 --beside '/stats?history=3 /anomalies?limit=100' \
		--seconds 4 --rounds 9 --name half-overview --record
	target/release/compare --servers corepulse,corepulse --scenarios hundred --percent 50 \
		--devices 100000 --beside '/stats?history=3 /devices?sort=z&limit=25' \
		--seconds 4 --rounds 9 --name half-devices --record

perf-fleet: ## What ten questions a second to a fleet of three cost, with 100,000 devices (4 min)
	cargo build --release --locked --workspace
	$(realtime) target/release/compare --servers corepulse,corepulse --scenarios device --rate 20000 \
		--redis --replicas 2 --devices 100000 --beside '/analyze?scope=fleet' \
		--seconds $(call seconds,4) --rounds 9 --name fleet --record

perf-windows: ## What it costs to save the windows of 100,000 devices, and to move them (2 min)
	cargo build --release --locked --workspace
	$(realtime) .venv/bin/python perf/windows.py target/release/corepulse \
		perf/record/$(shell date +%F)-windows.json

perf-scale: ## Two workers beside one, a million devices beside a thousand (4 minutes, 3 GB)
	cargo build --release --locked --workspace
	target/release/compare --servers corepulse --scenarios ndjson --workers 1,2 --threads 2 \
		--seconds $(call seconds,2) --name scale-workers --record
	target/release/compare --servers corepulse --scenarios ndjson --devices 1000,1000000 \
		--orders in-turn,shuffled,random --seconds $(call seconds,2) \
		--name scale-devices --record

perf-idle: ## What 15,000 idle connections cost in memory, and the active ones beside them in time
	cargo build --release --locked --workspace
	target/release/compare --servers corepulse --scenarios single --idle 0,15000 --rounds 7 \
		--seconds $(call seconds,2) --name idle-connections --record

perf-tls: ## TLS beside hyper over rustls and nginx in front; idle connections (5 minutes)
	cargo build --release --locked --workspace
	cargo build --release --locked --manifest-path perf/peers/Cargo.toml --target-dir target \
		--bin hyper-tls
	target/release/tls --record

profiles: ## Twenty profiles over HTTP of a server under full load: nothing may fail
	$(slow) profiling

flamegraphs: ## Draw where time goes under each kind of load, the kernel's part too (needs perf)
	cargo build --release --locked --workspace
	perf/flamegraph --into flamegraphs single device pipelined ndjson

idle-connections: ## 15,000 idle connections: each stays open and usable while others are busy
	$(slow) idle_connections

greedy: ## Polite clients beside those that want more than their share: none of theirs may fail
	$(slow) greedy

soak: ## Ten minutes of devices whose connections live half a minute; `make soak SECONDS=90`
	TEST_SECONDS=$(call seconds,600) $(slow) soak

clean: ## Remove everything that was built or installed here
	cargo clean
	rm -rf .hypothesis .tools .venv fuzz/target fuzz/corpus fuzz/artifacts
