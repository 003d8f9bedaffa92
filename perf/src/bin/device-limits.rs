//! Measures what limits of devices cost, and what they are for: see `perf/README.md`.

fn main() -> std::process::ExitCode {
    corepulse_perf::device_limits::main()
}
