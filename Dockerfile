# The server in an image of its own: one binary, the libraries that it links, and the
# certificate authorities for `rediss://`. No shell, no package manager, no other user.
#
#   docker build --build-arg COREPULSE_COMMIT="$(git rev-parse --short HEAD)" -t corepulse:0.2.0 .
#
# Builds for amd64 and arm64, each on its own architecture (`docker buildx build --platform …`).

FROM rust:1.95.0-slim-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build

# sonic-rs and the compiler choose their vector instructions when they compile, so an image has a
# baseline. x86-64-v2 (SSE4.2, POPCNT; every server since 2009) is the newest that also runs on what
# hypervisors show by default, and a node that lacks it would end each pod with SIGILL. AVX2 gains
# nothing that can be measured on metrics of 80 bytes; for a fleet of one kind of node there is
# `--build-arg TARGET_CPU=x86-64-v3`. On arm64, NEON is part of the plain baseline.
# The flags go to cargo's own file: there they join those of `.cargo/config.toml`, while RUSTFLAGS
# would replace them, and the frame pointers with them.
# BuildKit names the architecture in TARGETARCH; a builder without it leaves it empty.
ARG TARGETARCH
ARG TARGET_CPU=""
RUN cpu="$TARGET_CPU"; \
    if [ -z "$cpu" ]; then \
        case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
            amd64) cpu=x86-64-v2 ;; \
            arm64) cpu=generic ;; \
            *) echo "no baseline is chosen for this architecture" >&2; exit 1 ;; \
        esac; \
    fi; \
    printf '[build]\nrustflags = ["-C", "target-cpu=%s"]\n' "$cpu" >"$CARGO_HOME/config.toml"

# The dependencies, in a layer that only a change of the manifests makes again: sources that do
# nothing stand in for ours, also for the benchmarks and programs that the manifests name. What came
# of those is removed, since cargo compares times of change, and a checkout may be older than this
# layer.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY perf/Cargo.toml perf/Cargo.toml
COPY percore/Cargo.toml percore/Cargo.toml
COPY testkit/Cargo.toml testkit/Cargo.toml
COPY vendor vendor
RUN mkdir -p src perf/src/bin perf/benches percore/src testkit/src benches \
    && echo '//! Stands in.' | tee src/lib.rs perf/src/lib.rs percore/src/lib.rs testkit/src/lib.rs \
        >src/main.rs \
    && echo 'fn main() {}' | tee -a src/main.rs benches/stages.rs >perf/benches/instructions.rs \
    && for program in compare contention device-limits draw-flamegraph floor forms nab redis-writer tls; do \
        echo 'fn main() {}' >"perf/src/bin/$program.rs"; \
    done \
    && cargo build --release --locked --bin corepulse \
    && cargo clean --release --locked --package corepulse --package percore \
    && rm -r src percore/src

# Parts of the binary: they are served.
COPY build.rs openapi.json ./
COPY web web
COPY percore/src percore/src
COPY src src
ARG COREPULSE_COMMIT=unknown
RUN COREPULSE_COMMIT="$COREPULSE_COMMIT" cargo build --release --locked --bin corepulse

# The whole file system of the image: what the dynamic loader would load, at the same paths.
RUN binary=target/release/corepulse; \
    install -D "$binary" /rootfs/usr/local/bin/corepulse; \
    ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do \
        install -D "$library" "/rootfs$library"; \
    done; \
    install -D --mode=644 /etc/ssl/certs/ca-certificates.crt \
        /rootfs/etc/ssl/certs/ca-certificates.crt

# Smoke test, in that file system and as that user: it starts, finds itself healthy, and stops.
# hadolint ignore=DL3001
RUN corepulse() { exec chroot --userspec=65532:65532 /rootfs /usr/local/bin/corepulse "$@"; }; \
    export COREPULSE_LISTEN=127.0.0.1:8080; \
    (corepulse --version); \
    corepulse & server=$!; \
    tries=100; \
    until (corepulse healthcheck); do \
        tries=$((tries - 1)); [ "$tries" -gt 0 ]; sleep 0.1; \
    done; \
    kill -TERM "$server"; \
    wait "$server"

FROM scratch
ARG COREPULSE_COMMIT=unknown
LABEL org.opencontainers.image.title="corepulse" \
      org.opencontainers.image.description="A thread-per-core HTTP server for device metrics" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.revision="$COREPULSE_COMMIT" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /rootfs /
# By number: Kubernetes cannot tell whether a name is root. No file belongs to it.
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# Asks /health at the address of COREPULSE_LISTEN, or the default one; there is no curl in here.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/corepulse", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/corepulse"]
