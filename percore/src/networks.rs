//! Networks of addresses, as proxies are named by them: `10.0.0.0/8`, `2001:db8::/32`, `unix`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the number of its bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// A list of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    list: Vec<Network>,
    /// True if peers on Unix sockets, which have no address, are among them.
    unix: bool,
}

impl Network {
    /// Reads an address, or one with a slash and a number of bits behind it.
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            Some(bits) => {
                Some(bits).filter(is_number)?.parse().ok().filter(|bits| *bits <= most)?
            }
            None => most,
        };
        let network = Self { address: masked(address, bits), bits };
        // 10.0.0.1/8 is a typing error in one of its parts.
        (network.address == address).then_some(network)
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

/// Returns an address whose bits behind the first ones are zero.
fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

impl Networks {
    /// Reads networks with commas between them; `unix` stands for every peer on a Unix socket.
    ///
    /// # Errors
    ///
    /// The first that is none.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let mut networks = Self::default();
        for entry in text.split(',').map(str::trim) {
            if entry == "unix" {
                networks.unix = true;
            } else {
                networks.list.push(Network::parse(entry).ok_or(entry)?);
            }
        }
        Ok(networks)
    }

    /// Returns true if a peer is in one of them; one without an address is on a Unix socket.
    #[must_use]
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(address) => {
                // A listener for both families has IPv4 addresses in those of IPv6.
                let address = address.to_canonical();
                self.list.iter().any(|network| network.contains(address))
            }
            None => self.unix,
        }
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks =
            self.list.iter().map(|Network { address, bits }| format!("{address}/{bits}"));
        let unix = self.unix.then(|| "unix".to_owned());
        out.write_str(&networks.chain(unix).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(networks: &str, address: &str) -> bool {
        Networks::parse(networks).unwrap().contains(Some(address.parse().unwrap()))
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        for (networks, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "8.8.8.8", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("192.168.0.0/16, ::1", "::1", true),
        ] {
            assert_eq!(contains(networks, address), expected, "{networks} {address}");
        }
        assert!(!Networks::parse("0.0.0.0/0,::/0").unwrap().contains(None));
        assert!(Networks::parse("unix").unwrap().contains(None));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for wrong in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0.0/8/8",
            "10.0.0",
            "unix:/a",
        ] {
            assert_eq!(Networks::parse(wrong), Err(wrong));
            assert_eq!(Networks::parse(&format!("::1,{wrong}")), Err(wrong));
        }
        let printed = Networks::parse("10.0.0.0/8, ::1 ,unix").unwrap().to_string();
        assert_eq!(printed, "10.0.0.0/8,::1/128,unix");
    }
}
