//! What kind of address it is. Pure.
//!
//! An IPv6 address may carry an IPv4 address which some router, tunnel or kernel turns it into, so every
//! question is asked of those as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services that are not at a link-local address (AWS, Google).
const METADATA: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Ranges that are not for the whole Internet, or lead back into this network: address and prefix length.
const SPECIAL_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's own services
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The same for what lies in `2000::/3`, the only part of IPv6 that is for the whole Internet.
const SPECIAL_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The address with its IPv4 form if it is an IPv4 address in IPv6 clothes (`::ffff:a.b.c.d`).
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether it is link-local or a metadata service's: an address that no script may reach unless it is
/// listed.
#[must_use]
pub fn is_metadata(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || METADATA.contains(&address)
                || embedded(address).any(|inner| inner.is_link_local())
        }
    }
}

/// Whether it is anything but a public address: private, loopback, link-local, shared, multicast, reserved,
/// or a form of IPv6 that leads to an IPv4 address.
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(address) => SPECIAL_V4.iter().any(|(range, bits)| within_v4(address, *range, *bits)),
        IpAddr::V6(address) => {
            !within_v6(address, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)
                || SPECIAL_V6.iter().any(|(range, bits)| within_v6(address, *range, *bits))
                || embedded(address).any(|inner| is_special(IpAddr::V4(inner)))
        }
    }
}

/// Every IPv4 address that an IPv6 address may stand for.
pub fn embedded(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let parts = address.segments();
    let v4 = |at: usize| Ipv4Addr::from(u32::from(parts[at]) << 16 | u32::from(parts[at + 1]));
    let zero = |range: std::ops::Range<usize>| parts[range].iter().all(|part| *part == 0);
    let nat64 = parts[0] == 0x64 && parts[1] == 0xff9b;
    let teredo = parts[0] == 0x2001 && parts[1] == 0;
    let isatap = matches!(parts[4], 0 | 0x200) && parts[5] == 0x5efe;
    [
        (zero(0..5) && matches!(parts[5], 0 | 0xffff) || zero(0..4) && parts[4] == 0xffff && parts[5] == 0)
            .then(|| v4(6)),
        (nat64 || isatap).then(|| v4(6)),
        (parts[0] == 0x2002).then(|| v4(1)),
        teredo.then(|| v4(2)),
        teredo.then(|| Ipv4Addr::from(!u32::from(v4(6)))),
    ]
    .into_iter()
    .flatten()
}

fn within_v4(address: Ipv4Addr, range: Ipv4Addr, bits: u32) -> bool {
    (u32::from(address) ^ u32::from(range)) >> (32 - bits) == 0
}

fn within_v6(address: Ipv6Addr, range: Ipv6Addr, bits: u32) -> bool {
    (u128::from(address) ^ u128::from(range)) >> (128 - bits) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn metadata_in_every_dress() {
        let metadata = [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "2001:0:a9fe:a9fe:0:1:2:3",
            "2001:0:1:2:3:4:5601:5601",
            "fe81::5efe:a9fe:a9fe",
            "2a00::200:5efe:a9fe:a9fe",
        ];
        for text in metadata {
            assert!(is_metadata(address(text)), "{text}");
            assert!(is_special(address(text)), "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "::1", "fd00:ec2::255", "8.8.8.8", "2a00::1", "0.0.0.0"] {
            assert!(!is_metadata(address(text)), "{text}");
        }
    }

    #[test]
    fn what_is_not_public() {
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::808:808",
            "64:ff9b::a00:1",
            "2002:808:808::",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "2a00::5efe:10.0.0.1",
            "4000::1",
        ];
        for text in special {
            assert!(is_special(address(text)), "{text}");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.169.0.0",
            "198.17.0.0",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
        ];
        for text in public {
            assert!(!is_special(address(text)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_dress_helps(bits in 0..=u32::MAX) {
            let inner = Ipv4Addr::from(bits);
            let [a, b] = [(bits >> 16) as u16, bits as u16];
            let dresses = [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, a, b), Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, a, b),
            ];
            for dress in dresses {
                let dress = IpAddr::V6(dress);
                prop_assert!(!is_metadata(IpAddr::V4(inner)) || is_metadata(dress));
                prop_assert!(!is_special(IpAddr::V4(inner)) || is_special(dress));
            }
        }
    }
}
