//! The state that all cores of one server share.

use std::sync::Arc;

use super::admission::AdmissionControl;
use super::balancer::Balancer;
use super::context::ConnectionLimits;
use super::shutdown::Shutdown;
use super::socket::Socket;
use crate::clock::Clock;
use crate::tls::acceptor::Acceptor;

/// The limits, counts and phase of one server. Each core has a copy that leads to the same counts.
#[derive(Debug)]
pub struct ServerState<S = Socket> {
    /// Deadlines and sizes.
    pub limits: ConnectionLimits,
    /// The maximum age of a connection in milliseconds; `u64::MAX` for no limit.
    pub connection_age_ms: u64,
    /// Counts connections against their limit.
    pub admission_control: Arc<AdmissionControl>,
    /// Assigns connections to cores.
    pub balancer: Arc<Balancer<S>>,
    /// The phase: serving, draining or closing.
    pub shutdown: Arc<Shutdown>,
    /// The credentials of TLS, if it is spoken anywhere.
    pub acceptor: Option<Arc<Acceptor>>,
    /// The clock.
    pub clock: Clock,
}

impl<S> ServerState<S> {
    /// Returns the time at which a connection that is accepted now is too old. The age is spread by
    /// ±10 %, so that connections that came together do not leave together.
    #[must_use]
    pub fn age_limit_ms(&self, now_ms: u64) -> u64 {
        let age_ms = self.connection_age_ms;
        let spread_ms = age_ms / 10;
        if age_ms == u64::MAX {
            return u64::MAX;
        }
        now_ms + age_ms - spread_ms + fastrand::u64(0..=2 * spread_ms)
    }
}

// Derived, it would ask for streams that can be cloned.
impl<S> Clone for ServerState<S> {
    fn clone(&self) -> Self {
        Self {
            admission_control: Arc::clone(&self.admission_control),
            balancer: Arc::clone(&self.balancer),
            shutdown: Arc::clone(&self.shutdown),
            acceptor: self.acceptor.clone(),
            ..*self
        }
    }
}
