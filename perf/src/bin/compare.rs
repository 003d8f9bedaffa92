//! Compares servers: see `perf/README.md`.

fn main() -> std::process::ExitCode {
    corepulse_perf::compare::main()
}
