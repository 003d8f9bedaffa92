//! The credentials that new connections get, which may be replaced while a server runs.

use std::sync::Arc;

use rustls::ServerConfig;

use super::credentials::Credentials;
use super::session::Session;
use crate::sync::Mutex;

/// The credentials of a server for its next connections.
#[derive(Debug)]
pub struct Acceptor {
    config: Mutex<Arc<ServerConfig>>,
}

impl Acceptor {
    /// Returns an acceptor with these credentials.
    pub fn new(credentials: Credentials) -> Self {
        Self { config: Mutex::new(Arc::new(credentials.config)) }
    }

    /// Replaces the credentials. Connections that are open keep theirs; tickets that were given out
    /// for the old ones are not taken any more, so that nobody resumes what a new authority would
    /// refuse.
    pub fn replace(&self, credentials: Credentials) {
        let config = Arc::new(credentials.config);
        // The old ones are dropped after the lock.
        let _old = std::mem::replace(&mut *self.config.lock(), config);
    }

    /// Returns the session of a new connection; `None` if the credentials do not serve, which they
    /// were checked for.
    pub fn session(&self) -> Option<Session> {
        let config = Arc::clone(&self.config.lock());
        Session::new(config)
    }
}
