//! hyper 1 on a current-thread tokio runtime.

use clap::Parser as _;
use corepulse_peers::hyper_job::serve;
use corepulse_peers::listen::{Options, run};
use corepulse_peers::metric::Json;
use std::io;

fn main() -> io::Result<()> {
    let options = Options::parse();
    let json = options.json;
    run(options.listener("hyper")?, async move |listener| accept(listener, json).await)
}

async fn accept(listener: tokio::net::TcpListener, json: Json) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(serve(stream, json));
    }
}
