//! Counts how cores get in each other's way: see `perf/README.md`.

fn main() -> std::process::ExitCode {
    corepulse_perf::contention::main()
}
