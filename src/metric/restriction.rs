//! Restrictions: the device ids that a sender may write.

use crate::metric::rejection::Rejection;
use crate::metric::shown_id::ShownId;

/// The device ids that a sender may write; both parts have to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restriction<'a> {
    /// The prefix of the ids that its token may write.
    pub prefix: Option<&'a [u8]>,
    /// The only id that its certificate may write, which an event may leave out.
    pub device: Option<&'a [u8]>,
}

impl Restriction<'_> {
    /// Returns true if any event may be written.
    pub const fn is_none(&self) -> bool {
        self.prefix.is_none() && self.device.is_none()
    }

    /// Returns the rejection of an event with this device id, if it may not be written.
    pub(super) fn rejection(&self, device_id: Option<&[u8]>) -> Option<Rejection> {
        if let Some(device) = self.device
            && device_id != Some(device)
        {
            return Some(Rejection::OtherDevice { device: ShownId::of(device) });
        }
        let prefix = self.prefix?;
        let is_permitted = device_id.is_some_and(|id| id.starts_with(prefix));
        (!is_permitted).then(|| Rejection::OtherPrefix { prefix: ShownId::of(prefix) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(restriction: Restriction<'_>, id: Option<&[u8]>) -> Option<String> {
        restriction.rejection(id).map(|rejection| rejection.to_string())
    }

    #[test]
    fn both_parts_have_to_hold() {
        let prefix = Restriction { prefix: Some(b"dev-"), device: None };
        let device = Restriction { prefix: None, device: Some(b"gw-7") };
        let both = Restriction { prefix: Some(b"dev-"), device: Some(b"gw-7") };
        let [by_prefix, by_device] = [
            "device_id: the token may write only ids that begin with \"dev-\"",
            "device_id: the client certificate is of \"gw-7\"",
        ];
        for (restriction, id, expected) in [
            (Restriction::default(), None, None),
            (Restriction::default(), Some(&b"a"[..]), None),
            (prefix, Some(b"dev-"), None),
            (prefix, Some(b"dev-9"), None),
            (prefix, Some(b"dev"), Some(by_prefix)),
            (prefix, Some(b"Dev-9"), Some(by_prefix)),
            (prefix, Some(b"a-dev-9"), Some(by_prefix)),
            (prefix, None, Some(by_prefix)),
            (device, Some(b"gw-7"), None),
            (device, Some(b"gw-78"), Some(by_device)),
            (device, None, Some(by_device)),
            (both, Some(b"dev-1"), Some(by_device)),
            (both, Some(b"gw-7"), Some(by_prefix)),
        ] {
            assert_eq!(text(restriction, id).as_deref(), expected, "{restriction:?} {id:?}");
        }
        assert!(Restriction::default().is_none() && !prefix.is_none() && !device.is_none());
    }

    #[test]
    fn a_long_id_is_cut() {
        for (len, shown) in [(30, "d".repeat(30)), (31, format!("{}…", "d".repeat(30)))] {
            let id = vec![b'd'; len];
            let found = text(Restriction { prefix: Some(&id), device: None }, None).unwrap();
            assert!(found.ends_with(&format!("\"{shown}\"")), "{found}");
        }
    }
}
