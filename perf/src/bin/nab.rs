//! Scores the server's judges on the Numenta Anomaly Benchmark: `make nab`.

fn main() -> std::process::ExitCode {
    corepulse_perf::nab::main()
}
