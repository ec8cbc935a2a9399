//! Hash tables in arrays: where a key is looked for.
//!
//! The kernel inlines the lookup of an array and not that of a hash map, so the tables that every packet asks are
//! arrays with open addressing: a key is in one of the [`PROBES`] places from its [`start`] on, before any place that
//! was never used. The agent writes them through shared memory; a place is written while its state says that it is
//! not in use, and changes hands only after the last reader of its former key is gone.

use super::{Address, ReverseEntry, ServiceEntry};

/// State of a place that was never used: no key lies behind it.
pub const NEVER_USED: u32 = 0;
/// State of a place that holds a key.
pub const IN_USE: u32 = 1;
/// State of a place whose key was taken away.
pub const LEFT: u32 = 2;

/// Places that a key may be in.
pub const PROBES: u32 = 16;

/// An odd multiplier with well-spread bits.
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

/// A place of a table.
pub trait Place {
    /// Its state.
    fn state(&self) -> u32;
    /// Address of its key.
    fn address(&self) -> Address;
    /// Port and protocol of its key, as one word.
    fn port_and_protocol(&self) -> u32;
}

macro_rules! place {
    ($entry:ty) => {
        impl Place for $entry {
            #[inline(always)]
            fn state(&self) -> u32 {
                self.state
            }

            #[inline(always)]
            fn address(&self) -> Address {
                self.key.address
            }

            #[inline(always)]
            fn port_and_protocol(&self) -> u32 {
                port_and_protocol(self.key.port, self.key.protocol)
            }
        }
    };
}

place!(ServiceEntry);
place!(ReverseEntry);

/// Port (as it lies in a packet) and protocol as one word.
#[inline(always)]
pub const fn port_and_protocol(port: u16, protocol: u8) -> u32 {
    port as u32 | (protocol as u32) << 16
}

/// The first place to look at for a key, in a table of `mask` + 1 places. `v4` says that the address is v4-mapped.
#[inline(always)]
pub const fn start(address: Address, port_and_protocol: u32, v4: bool, mask: u32) -> u32 {
    let [a, b, c, d] = address;
    let low = (((port_and_protocol as u64) << 32) | d as u64).wrapping_mul(MULTIPLIER);
    let word = if v4 {
        low
    } else {
        let high = ((((a ^ c.rotate_left(9)) as u64) << 32) | b as u64).wrapping_mul(MULTIPLIER);
        (low ^ high ^ (high >> 29)).wrapping_mul(MULTIPLIER)
    };
    ((word ^ (word >> 22)) >> 32) as u32 & mask
}

/// The place of a key, if it is in the table that `get` reads.
#[inline(always)]
pub fn find<'a, P: Place + 'a>(
    address: Address,
    port_and_protocol: u32,
    v4: bool,
    mask: u32,
    get: impl Fn(u32) -> Option<&'a P>,
) -> Option<&'a P> {
    let [_, _, _, last] = address;
    let first = start(address, port_and_protocol, v4, mask);
    for probe in 0..PROBES {
        let place = get(first.wrapping_add(probe) & mask)?;
        let [_, _, _, found] = place.address();
        // An IPv4 key and an IPv6 key never share all of address, port and protocol, but may share the last word.
        let same =
            found == last && place.port_and_protocol() == port_and_protocol && place.address() == address;
        if same && place.state() == IN_USE {
            return Some(place);
        }
        if place.state() == NEVER_USED {
            return None;
        }
    }
    None
}

/// Places of a table for `keys` keys: a power of two, at most a quarter full, so that runs longer than [`PROBES`] places
/// are all but impossible.
pub const fn places(keys: u32) -> u32 {
    match keys.saturating_mul(4).checked_next_power_of_two() {
        Some(places) if places >= PROBES => places,
        Some(_) => PROBES,
        None => 1 << 31,
    }
}
