//! Compares what an event costs in each form of a body: see `perf/README.md`.

fn main() -> std::process::ExitCode {
    corepulse_perf::forms::main()
}
