//! The addresses of a server, in clear and with TLS, and what is said of them at the start.

use std::io;

use crate::api::authorization::tokens::Access;
use crate::config::Config;
use crate::config::token_file::Role;
use crate::engine::BoundAddress;
use crate::telemetry::log;
use crate::tls_files::describe_expiry;
use percore::clock::Clock;
use percore::listen::Listen;
use percore::listener::{Address, Bound};

/// Logs the certificate, and warns if it soon expires.
pub(super) fn announce_tls(expires_unix_s: i64, config: &Config, mut clock: Clock) {
    let (expiry, is_soon) = describe_expiry(expires_unix_s, clock.now());
    let client_certificates = config.tls_client_ca.is_some();
    if is_soon {
        log::warn!(expiry, client_certificates, "the certificate of TLS soon has to be renewed");
    } else {
        log::info!(expiry, client_certificates, "TLS");
    }
}

/// Warns of addresses that others than this machine can reach while no token is asked for.
/// Certificates of clients are as good. Where tokens are, and TLS as well, it warns of addresses
/// that have none: `--listen` is such a one unless it is given.
pub(super) fn warn_if_open(bound: &Bound, config: &Config, access: Option<&Access>) {
    let asks_for = |role| access.is_some_and(|access| access.table().asks_for(role));
    let secure = bound.secure_addresses();
    if asks_for(Role::Write) || asks_for(Role::Read) {
        let clear = from_elsewhere(bound.addresses().iter());
        if !clear.is_empty() && !secure.is_empty() {
            log::warn!(
                address = clear,
                "this address is in clear, beside --tls-listen: no certificate is asked for \
                 there, and tokens and metrics can be read on the way; see --listen localhost:8080"
            );
        }
        return;
    }
    let secure = Some(secure).filter(|_| config.tls_client_ca.is_none());
    let open = from_elsewhere(bound.addresses().iter().chain(secure.into_iter().flatten()));
    if !open.is_empty() {
        log::warn!(
            address = open,
            "no token is asked for: anybody who reaches this address may post metrics as any \
             device, and read all metrics, devices and anomalies; see --tokens, or --listen \
             localhost:8080"
        );
    }
}

/// Returns those of these addresses that others than this machine can reach.
fn from_elsewhere<'a>(addresses: impl Iterator<Item = &'a Address>) -> String {
    let open = addresses.filter(|address| match address {
        Address::Internet(address) => !address.ip().to_canonical().is_loopback(),
        Address::Unix(_) => false,
    });
    open.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Binds all addresses.
///
/// # Errors
///
/// One of them, with the reason for which it cannot be listened on.
pub(super) fn bind(config: &Config, workers: usize) -> Result<BoundAddress, (Listen, io::Error)> {
    let clear = config.listen.iter().map(|listen| (listen, false));
    let secure = config.tls_listen.iter().map(|listen| (listen, true));
    let mut bound: Option<BoundAddress> = None;
    for (listen, is_secure) in clear.chain(secure) {
        let next = match bound {
            None => BoundAddress::bind(config.engine, listen, workers),
            Some(bound) => bound.also_bind(listen, is_secure),
        };
        bound = Some(next.map_err(|error| (listen.clone(), error))?);
    }
    bound.ok_or_else(|| (Listen::Everywhere(0), io::ErrorKind::InvalidInput.into()))
}
