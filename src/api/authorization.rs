//! Authorization by tokens: what a request may do, from the token that it bears.

mod credentials;
pub mod failures;
pub mod file;
pub mod tokens;
pub mod writer;

use std::net::IpAddr;
use std::sync::Arc;

use super::path_segment::decode;
use super::route::{Reads, Route};
use super::state::State;
use super::warn;
use crate::config::token_digest::TokenDigest;
use crate::config::token_file::Role;
use crate::limits::LOOKUP_KEY_BYTES_MAX;
use crate::metric::key;
use credentials::{Schemes, find};
use failures::Failure;
use percore::http::handler::Context;
use percore::http::headers::Headers;
use percore::http::problem::problem;
use percore::http::request::Request;
use percore::http::response::{Field, Response};
use percore::http::status::Status;
use tokens::{Access, TokenEntry, TokenTable};

/// The reason why a request may not do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It bears no token that may.
    Unauthorized,
    /// Its peer has failed too often, and may try again after so many seconds.
    Limited(u32),
}

/// One core's view of the tokens.
#[derive(Debug)]
pub struct Door {
    /// The tokens that this core has seen last.
    table: Arc<TokenTable>,
    /// The version of these.
    version: u64,
}

impl Door {
    /// Returns the view of a core that has just started.
    pub fn new(state: &State) -> Self {
        let table = state.access.as_ref().map_or_else(Arc::default, |access| access.table());
        Self { table, version: 0 }
    }

    /// Returns the token with which a request may write metrics; `None` if none is needed.
    ///
    /// # Errors
    ///
    /// It may not.
    #[inline]
    pub fn writer(
        &mut self,
        headers: &Headers<'_>,
        state: &State,
        context: &Context<'_>,
    ) -> Result<Option<&TokenEntry>, Denial> {
        self.writer_by(Schemes::Token, headers, state, context)
    }

    /// Returns the token with which a client of InfluxDB may write metrics; `None` if none is
    /// needed.
    ///
    /// # Errors
    ///
    /// It may not.
    pub fn influx_writer(
        &mut self,
        headers: &Headers<'_>,
        state: &State,
        context: &Context<'_>,
    ) -> Result<Option<&TokenEntry>, Denial> {
        self.writer_by(Schemes::TokenOrPassword, headers, state, context)
    }

    #[inline(always)]
    fn writer_by(
        &mut self,
        schemes: Schemes,
        headers: &Headers<'_>,
        state: &State,
        context: &Context<'_>,
    ) -> Result<Option<&TokenEntry>, Denial> {
        match &state.access {
            Some(access) => self.writer_of(access, headers, schemes, context),
            None => Ok(None),
        }
    }

    #[inline(never)]
    fn writer_of(
        &mut self,
        access: &Access,
        headers: &Headers<'_>,
        schemes: Schemes,
        context: &Context<'_>,
    ) -> Result<Option<&TokenEntry>, Denial> {
        self.refresh(access);
        if !self.table.asks_for(Role::Write) {
            return Ok(None);
        }
        let may = |token: &TokenEntry| token.roles.has(Role::Write);
        self.check(access, headers, schemes, context, may).map(Some)
    }

    /// Checks that a request may have the answer of a route that only reads.
    ///
    /// What is made of metrics needs a token that may read, if there is one. A metric itself may be
    /// looked up with a token that may have written it as well: who has that knows it anyway. Where
    /// a certificate names the only device that its bearer writes, it is the only one here, too.
    ///
    /// # Errors
    ///
    /// It may not.
    pub fn check_read(
        &mut self,
        route: Route<'_>,
        headers: &Headers<'_>,
        state: &State,
        context: &Context<'_>,
    ) -> Result<(), Denial> {
        let (Some(access), Some(reads)) = (&state.access, route.reads()) else {
            return Ok(());
        };
        self.refresh(access);
        let asks_for = |role| self.table.asks_for(role);
        let is_guarded = match reads {
            Reads::Metric => asks_for(Role::Read) || asks_for(Role::Write),
            Reads::Analytics => asks_for(Role::Read),
            Reads::Exposition => state.settings.guards_exposition,
        };
        if !is_guarded {
            return Ok(());
        }
        let device_id = device_id(route);
        let may_certificate =
            |id: Option<&[u8]>| context.identity.is_none_or(|device| id == Some(device.as_bytes()));
        let may = |token: &TokenEntry| {
            let id = device_id.as_deref();
            token.roles.has(Role::Read)
                || match reads {
                    Reads::Metric => token.may_write(id) && may_certificate(id),
                    Reads::Analytics => false,
                    Reads::Exposition => token.roles.has(Role::Admin),
                }
        };
        self.check(access, headers, Schemes::Token, context, may).map(drop)
    }

    /// Checks that a request bears a token with the role `admin`.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn check_admin(
        &mut self,
        headers: &Headers<'_>,
        state: &State,
        context: &Context<'_>,
    ) -> Result<(), Denial> {
        let Some(access) = &state.access else {
            return Err(Denial::Unauthorized);
        };
        self.refresh(access);
        let may = |token: &TokenEntry| token.roles.has(Role::Admin);
        self.check(access, headers, Schemes::Token, context, may).map(drop)
    }

    /// Takes the tokens that there are now.
    fn refresh(&mut self, access: &Access) {
        let version = access.version();
        if version != self.version {
            self.table = access.table();
            self.version = version;
        }
    }

    /// Returns the token of a request, if it may do what is asked for.
    fn check(
        &self,
        access: &Access,
        headers: &Headers<'_>,
        schemes: Schemes,
        context: &Context<'_>,
        may: impl Fn(&TokenEntry) -> bool,
    ) -> Result<&TokenEntry, Denial> {
        let now_ns = context.now.mono_ns;
        let peer = || peer(context);
        let mut wait_ns = None;
        let mut guess = None;
        let mut failure = Failure::Missing;
        let found = find(headers, schemes, |token| {
            // Asked for once, and only of who bears a token.
            let wait_ns = *wait_ns.get_or_insert_with(|| access.failures.wait_ns(peer, now_ns));
            if wait_ns > 0 {
                return None;
            }
            let sha256 = TokenDigest::of(token);
            let Some(entry) = self.table.find(&sha256) else {
                failure = Failure::Unknown;
                // The first has all of the others in it, and so changes with each guess.
                guess.get_or_insert(sha256);
                return None;
            };
            if may(entry) {
                return Some(&**entry);
            }
            failure = Failure::Role;
            None
        });
        if let Some(entry) = found {
            return Ok(entry);
        }
        if let Some(wait_ns) = wait_ns.filter(|wait_ns| *wait_ns > 0) {
            access.failures.count(Failure::Limited);
            return Err(Denial::limited(wait_ns));
        }
        if failure == Failure::Missing {
            // Nothing was tried, so that nothing is found out by trying it often.
            access.failures.count(failure);
            return Err(Denial::Unauthorized);
        }
        // A token that is known was not guessed, whichever other text was tried before it.
        let guess = guess.as_ref().filter(|_| failure == Failure::Unknown);
        match access.failures.add(failure, guess, peer(), now_ns) {
            0 => Err(Denial::Unauthorized),
            wait_ns => Err(Denial::limited(wait_ns)),
        }
    }
}

impl Denial {
    fn limited(wait_ns: u64) -> Self {
        let seconds = wait_ns.div_ceil(1_000_000_000);
        Self::Limited(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Answers a request that only reads.
    pub fn answer(
        self,
        route: Route<'_>,
        state: &State,
        context: &Context<'_>,
        body: &mut Vec<u8>,
    ) -> Response {
        let detail = match (self, route.reads()) {
            (Self::Limited(_), _) => TOO_MANY_FAILURES,
            (_, Some(Reads::Metric)) => {
                "Authorization: expected Bearer and the ingest or the read token"
            }
            (_, Some(Reads::Exposition)) => {
                "Authorization: expected Bearer and the read or the admin token"
            }
            _ => "Authorization: expected Bearer and the read token",
        };
        let (status, field) = match self {
            Self::Unauthorized => (Status::Unauthorized, Field::WwwAuthenticate("Bearer")),
            Self::Limited(seconds) => (Status::TooManyRequests, Field::RetryAfter(seconds)),
        };
        let response = problem(body, status, detail, Some(field), route.index());
        warn::unauthorized(status, body, state, context);
        response
    }
}

/// The detail of the answer to a peer that has failed too often.
pub const TOO_MANY_FAILURES: &str =
    "Authorization: too many requests of this address were without the token that they need";

/// Returns the address of a peer.
fn peer(context: &Context<'_>) -> Option<IpAddr> {
    context.peer.address().map(|address| address.ip())
}

/// Returns the device id in the path of a stored metric.
fn device_id(route: Route<'_>) -> Option<Vec<u8>> {
    match route {
        Route::LatestMetric(id) => decode(id, LOOKUP_KEY_BYTES_MAX),
        Route::Lookup(key) => {
            let key = decode(key, LOOKUP_KEY_BYTES_MAX)?;
            key::split(&key).0.map(<[u8]>::to_vec)
        }
        _ => None,
    }
}

/// The names of parameters in which clients of other servers put tokens.
const TOKEN_PARAMETERS: [&str; 9] = [
    "token",
    "access_token",
    "auth_token",
    "api_key",
    "apikey",
    "api-key",
    "authkey",
    "bearer",
    "authorization",
];

/// Returns true if a parameter of a query is a token by its name. It counts nowhere: proxies and
/// browsers keep what stands in a URL (RFC 6750, section 5.3).
pub fn is_token_parameter(name: &str) -> bool {
    TOKEN_PARAMETERS.iter().any(|token| name.eq_ignore_ascii_case(token))
}

/// Returns true if the query of a client of InfluxDB has a token or a password.
pub fn has_token_in_query(request: &Request<'_>) -> bool {
    request.parameters().any(|(name, _)| name == "p" || is_token_parameter(&name))
}
