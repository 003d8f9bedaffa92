//! The counting of a core's connections and turns, in its meter.

use std::io;

use super::Service;
use percore::clock::Now;
use percore::http::peer::Peer;
use percore::http::response::Response;
use percore::observer::{CloseReason, HandshakeEnd, Observer};

impl Observer for Service {
    #[inline]
    fn connection_opened(&mut self) {
        self.meter.connection_opened();
    }

    #[inline]
    fn connection_closed(&mut self, reason: CloseReason) {
        self.meter.connection_closed(reason);
    }

    #[inline]
    fn request_answered(&mut self, response: &Response, since_ns: u64) {
        self.meter.request_answered(response, since_ns);
    }

    #[inline]
    fn turn_ended(&mut self, began_ns: u64, ended_ns: u64) {
        self.meter.turn_ended(began_ns, ended_ns);
    }

    #[inline]
    fn wants_turn(&self) -> bool {
        self.meter.wants_turn()
    }

    fn handshake_ended(&mut self, end: &HandshakeEnd<'_>, peer: &dyn Peer, now: Now) {
        self.meter.handshake_ended(end, peer, now);
    }

    fn tls_closed(&mut self, is_truncated: bool) {
        self.meter.tls_closed(is_truncated);
    }

    fn connection_limit_reached(&mut self, peer: &dyn Peer, connections_max: usize, now: Now) {
        self.meter.connection_limit_reached(peer, connections_max, now);
    }

    fn peer_limit_reached(&mut self, peer: &dyn Peer, now: Now) {
        self.meter.peer_limit_reached(peer, now);
    }

    fn proxy_header_malformed(&mut self, proxy: &dyn Peer, now: Now) {
        self.meter.proxy_header_malformed(proxy, now);
    }

    fn accept_failed(&mut self, error: &io::Error, exhausted: bool, now: Now) {
        self.meter.accept_failed(error, exhausted, now);
    }
}
