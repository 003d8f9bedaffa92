//! Claims: who is next to have the window of a device.
//!
//! The key of a device in Redis has its latest claim. A replica claims by one atomic swap, which
//! tells it the claim before: so the claims of a device are one line, and each of them waits for
//! the one before it.

use std::fmt;
use std::str::FromStr;

use super::super::directory::Incarnation;

/// A claim: a number that its replica gives once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) by: Incarnation,
    pub(super) ticket: u64,
}

impl fmt::Display for Claim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.by, self.ticket)
    }
}

impl FromStr for Claim {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (by, ticket) = text.split_once('.').ok_or(())?;
        Ok(Self { by: by.parse()?, ticket: ticket.parse().map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_reads_back() {
        let claim = Claim { by: Incarnation(7), ticket: 12 };
        assert_eq!(claim.to_string(), "0000000000000007.12");
        assert_eq!(claim.to_string().parse(), Ok(claim));
        for wrong in ["", "7.12", "0000000000000007", "0000000000000007.", "0000000000000007.-1"] {
            assert_eq!(wrong.parse::<Claim>(), Err(()), "{wrong}");
        }
    }
}
