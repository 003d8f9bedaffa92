//! Compares TLS with hyper over rustls, and with nginx in front: see `perf/README.md`.

fn main() -> std::process::ExitCode {
    corepulse_perf::tls::main()
}
