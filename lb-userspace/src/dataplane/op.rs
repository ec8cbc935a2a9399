//! What is in the maps, and the operations that change it.

use lb_common::abi::{
    Address, Backend, BackendIdentity, Link, NetworkValue, PortsKey, RECORD_KINDS, REVERSE_PER_BACKEND,
    RangeValue, RecordRate, Recording, ReverseKey, ReverseRangeValue, ReverseValue, ServiceKey, ServiceValue,
    Settings, Slot,
};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of the maps, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Frontends.
    pub services: u32,
    /// Backends.
    pub backends: u32,
    /// Slots.
    pub slots: u32,
    /// Flows that are remembered.
    pub flows: u32,
    /// Sessions of `full-nat`.
    pub sessions: u32,
}

/// Pieces that a range of ports may fall into, each of them a prefix: 1 to 65,534 is the worst.
const PIECES_OF_A_RANGE: u32 = 30;

impl Capacity {
    /// How fast flows may be recorded on each of `cpus` CPUs, by `lb_common::abi::RecordKind`.
    ///
    /// Connections that exist come first: a sixteenth of the table at once, and another one every four seconds. What anyone
    /// can send gets half of that. Between two counts of the agent, ten seconds apart at most, that is less than the
    /// quarter of the table which is kept free for it.
    pub fn record_rates(&self, cpus: u32) -> [RecordRate; RECORD_KINDS] {
        let share = |part: u32| (self.flows / part / cpus.max(1)).max(1);
        let anyone = RecordRate { per_second: share(128), burst: share(32) };
        let established = RecordRate { per_second: share(64), burst: share(16) };
        [anyone, established, anyone]
    }

    /// Keys of the service table: frontends, and the addresses that they are on.
    pub const fn service_keys(&self) -> u32 {
        self.services.saturating_mul(2)
    }

    /// Pieces of frontends' ranges of ports.
    pub const fn ranges(&self) -> u32 {
        self.services.saturating_mul(PIECES_OF_A_RANGE)
    }

    /// Pieces of ranges of ports that replies come from.
    pub const fn reverse_ranges(&self) -> u32 {
        self.reverse().saturating_mul(PIECES_OF_A_RANGE)
    }

    /// Entries of the return path.
    pub const fn reverse(&self) -> u32 {
        self.backends.saturating_mul(REVERSE_PER_BACKEND)
    }
}

/// A run of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    /// First slot.
    pub offset: u32,
    /// Number of slots.
    pub count: u32,
}

impl Region {
    /// The table that a frontend points to.
    pub const fn of(value: &ServiceValue) -> Self {
        Self { offset: value.slot_offset, count: value.slot_count }
    }
}

/// Ports of an address and protocol that begin with the same bits: a key of a longest-prefix table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortsPrefix {
    /// Address, protocol and port; bits behind the prefix are 0.
    pub key: PortsKey,
    /// Length of the prefix, [`PortsKey::BITS_BEFORE_PORT`] to [`PortsKey::BITS`].
    pub bits: u32,
}

/// Addresses that begin with the same bits: a key of a longest-prefix table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkPrefix {
    /// The first address; IPv4 networks lie in the v4-mapped part.
    pub address: Address,
    /// Length of the prefix, up to [`lb_common::abi::ADDRESS_BITS`].
    pub bits: u32,
}

/// Everything that is in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Sizes.
    pub capacity: Capacity,
    /// Settings.
    pub settings: Settings,
    /// Frontends of single ports and of any port (port 0).
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    /// What addresses are, apart from their frontends ([`lb_common::abi::AddressFlags`]); they share a table with
    /// frontends.
    pub addresses: BTreeMap<Address, u32>,
    /// Pieces of frontends of ranges of ports.
    pub ranges: BTreeMap<PortsPrefix, RangeValue>,
    /// Networks of VIPs.
    pub networks: BTreeMap<NetworkPrefix, NetworkValue>,
    /// The return path.
    pub reverse: BTreeMap<ReverseKey, ReverseValue>,
    /// The return path of ranges and of any port.
    pub reverse_ranges: BTreeMap<PortsPrefix, ReverseRangeValue>,
    /// Addresses that `full-nat` sends from, by index, those in use.
    pub snat: BTreeMap<u32, Address>,
    /// Backends by index, those in use.
    pub backends: BTreeMap<u32, (BackendIdentity, Backend)>,
    /// Slot tables that services point to.
    pub tables: BTreeMap<Region, Vec<Slot>>,
    /// Interfaces that can be redirected to.
    pub devices: BTreeSet<u32>,
    /// VLAN interfaces.
    pub links: BTreeMap<u32, Link>,
}

/// Backend indexes, one place each: quick where every slot is asked.
#[derive(Clone, Debug)]
pub struct Indexes(Vec<bool>);

impl Indexes {
    /// None, with room for those below `capacity`; others are never in it.
    pub fn new(capacity: u32) -> Self {
        Self(vec![false; capacity as usize])
    }

    /// Adds an index.
    pub fn insert(&mut self, index: u32) {
        if let Some(place) = self.0.get_mut(index as usize) {
            *place = true;
        }
    }

    /// Adds those that slots lead to.
    pub fn insert_led_to<'a>(&mut self, slots: impl IntoIterator<Item = &'a Slot>) {
        slots.into_iter().flat_map(|slot| slot.led_to()).for_each(|index| self.insert(index));
    }

    /// Whether an index is in it.
    pub fn contains(&self, index: u32) -> bool {
        self.0.get(index as usize).copied().unwrap_or(false)
    }

    /// Those that are in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.0).filter(|(_, is_in)| **is_in).map(|(index, _)| index)
    }
}

/// Whether an entry of the service table says what an address is, and is no frontend.
pub(super) const fn is_address(key: &ServiceKey) -> bool {
    key.port == 0 && key.protocol == 0
}

/// The key of an address's own entry in the service table.
pub(super) const fn address_key(address: Address) -> ServiceKey {
    ServiceKey { address, port: 0, protocol: 0, zero: 0 }
}

impl Observed {
    /// Values of all frontends; those of a range as often as it has pieces.
    pub fn frontends(&self) -> impl Iterator<Item = &ServiceValue> {
        self.services.values().chain(self.ranges.values())
    }

    /// Indexes of frontends that are in use.
    pub fn service_indexes(&self) -> BTreeSet<u32> {
        self.frontends().map(|value| value.index).collect()
    }

    /// Backends that slots lead to.
    pub fn led_to(&self) -> Indexes {
        let mut indexes = Indexes::new(self.capacity.backends);
        self.tables.values().for_each(|slots| indexes.insert_led_to(slots));
        indexes
    }
}

/// One change of the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Allows redirects to an interface.
    PutDevice(u32),
    /// Says by which port, and with which tags, frames of a VLAN interface leave.
    PutLink(u32, Link),
    /// The opposite.
    DeleteLink(u32),
    /// Writes a backend's entry and who it belongs to.
    PutBackend {
        /// Its index.
        index: u32,
        /// Who it is.
        identity: BackendIdentity,
        /// Its entry.
        backend: Backend,
    },
    /// Sets a backend's counters to 0, before its index gets a new owner.
    ResetBackendCounters(u32),
    /// Sets a frontend's counters to 0, before its index gets a new owner.
    ResetServiceCounters(u32),
    /// Writes slots, each in one store: a whole table into a region that no service points to, or new phases into one that
    /// is in use.
    WriteSlots {
        /// First slot.
        offset: u32,
        /// The table.
        slots: Vec<Slot>,
    },
    /// Makes an address, port and protocol the source of replies.
    PutReverse(ReverseKey, ReverseValue),
    /// The opposite.
    DeleteReverse(ReverseKey),
    /// Tells the program how many reverse entries there are (0: it need not look).
    SetReverseEntries(u32),
    /// Makes a frontend live, or switches it to another table, in one step.
    PutService(ServiceKey, ServiceValue),
    /// Takes a frontend away.
    DeleteService(ServiceKey),
    /// Says what an address is, apart from its frontends.
    PutAddress(Address, u32),
    /// The opposite.
    DeleteAddress(Address),
    /// Makes a piece of a range of ports live, or switches it to another table, in one step.
    PutRange(PortsPrefix, RangeValue),
    /// Takes a piece of a range away.
    DeleteRange(PortsPrefix),
    /// Makes a network of VIPs live, whose frontends are there.
    PutNetwork(NetworkPrefix, NetworkValue),
    /// Takes a network away.
    DeleteNetwork(NetworkPrefix),
    /// Makes ports the source of replies.
    PutReverseRange(PortsPrefix, ReverseRangeValue),
    /// The opposite.
    DeleteReverseRange(PortsPrefix),
    /// Writes an address that `full-nat` sends from; zero frees the index.
    PutSnat {
        /// Where, below [`lb_common::abi::SNAT_ADDRESSES`].
        index: u32,
        /// The address.
        address: Address,
    },
    /// Tells the program what to look for besides exact frontends and replies ([`lb_common::abi::Lookups`]).
    SetLookups(u32),
    /// Waits until no packet is under way that saw the maps before the operations so far.
    WaitForReaders,
    /// Tells the program what may be recorded.
    SetRecording(Recording),
    /// Frees a backend's index.
    ClearBackend(u32),
}
