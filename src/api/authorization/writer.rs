//! Writers: who sends metrics, and what they may write.

use super::tokens::TokenEntry;
use crate::api::shared_bucket::SharedBucket;
use crate::metric::restriction::Restriction;

/// The sender of a request with metrics, if it may not write just anything.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The prefix of the device ids that its token may write.
    pub prefix: Option<&'a [u8]>,
    /// The only device that it may write, which its certificate names.
    pub device: Option<&'a [u8]>,
    /// Its token, if it needs one.
    pub token: Option<&'a TokenEntry>,
}

impl<'a> Writer<'a> {
    /// Returns the writer with a token and a certificate's device; `None` if neither binds it.
    pub fn of(token: Option<&'a TokenEntry>, device: Option<&'a [u8]>) -> Option<Self> {
        let prefix = token.and_then(|token| token.prefix.as_deref()).map(str::as_bytes);
        let token = token.filter(|token| token.limit.is_some());
        let is_bound = prefix.is_some() || device.is_some() || token.is_some();
        is_bound.then_some(Self { prefix, device, token })
    }

    /// Returns the device ids that it may write, if it may not write any.
    pub fn restriction(&self) -> Option<Restriction<'a>> {
        let restriction = Restriction { prefix: self.prefix, device: self.device };
        (!restriction.is_none()).then_some(restriction)
    }

    /// Returns the bucket of its token, if that has a limit.
    pub fn bucket(&self) -> Option<&'a SharedBucket> {
        self.token.and_then(|token| token.bucket.as_ref())
    }
}
