//! Compares the writer to Redis with `redis-benchmark`: see `perf/README.md`.

fn main() -> std::process::ExitCode {
    corepulse_perf::redis_writer::main()
}
