//! Which backend a packet's flow belongs to: the slot says it, or what is remembered of the flow (docs/flows.md).
//!
//! Always holds: a slot that is stable costs one load and no memory of the flow. Backends are numbers here, with
//! [`NOBODY`] and [`REFUSED`] beyond all of them: a function that the kernel runs as a function of its own may return
//! a scalar only.

use super::Headers;
use crate::abi::{
    Affinity, DropReason, FlowKey, FlowState, FlowValue, Phase, RecordKind, ServiceValue, Slot,
};
use crate::hash::{Flow, flow_hash, flow_slot, slot_of};
use crate::tables::Tables;
use crate::wire::tcp;

/// No backend takes new flows.
const NOBODY: u32 = Slot::NOBODY;
/// The flow would have to be recorded and cannot be.
const REFUSED: u32 = u32::MAX - 1;

/// Index of the backend that the packet's flow belongs to; [`no_backend`] explains one that does not exist.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, headers: &Headers, service: &ServiceValue, hash: u64) -> u32 {
    let Some(slot) = slot(tables, &headers.flow, headers.v4, service, hash) else {
        return NOBODY;
    };
    if slot.is_stable() {
        return slot.current();
    }
    remembered(tables, &headers.flow_key(), slot.0, headers.control)
}

/// Index of the backend that takes a flow which nobody had before; nothing is remembered of it. For those who remember
/// their flows themselves.
#[inline(always)]
pub fn newcomer<T: Tables>(tables: &T, headers: &Headers, service: &ServiceValue, hash: u64) -> u32 {
    slot(tables, &headers.flow, headers.v4, service, hash).map_or(NOBODY, Slot::current)
}

/// Hash of a packet's flow.
#[inline(always)]
pub fn hash<T: Tables>(tables: &T, headers: &Headers) -> u64 {
    flow_hash(tables.hash_key(), &headers.flow, headers.v4)
}

/// The slot of a flow with that hash; none if its service has no slots.
#[inline(always)]
fn slot<T: Tables>(tables: &T, flow: &Flow, v4: bool, service: &ServiceValue, hash: u64) -> Option<Slot> {
    let (offset, count) = service.slots();
    if count == 0 {
        return None;
    }
    let place = if service.affinity == Affinity::Flow as u8 {
        slot_of(hash, count)
    } else {
        flow_slot(tables.hash_key(), flow, v4, service.affinity, count)
    };
    tables.slot(offset.wrapping_add(place))
}

/// Index of the backend that a flow belongs to which exists already; nothing is remembered for asking. For packets that
/// speak of a flow without being of it.
#[inline(always)]
pub fn whose<T: Tables>(tables: &T, flow: &Flow, v4: bool, service: &ServiceValue) -> u32 {
    let hash = flow_hash(tables.hash_key(), flow, v4);
    let Some(slot) = slot(tables, flow, v4, service, hash) else {
        return NOBODY;
    };
    if slot.is_stable() {
        return slot.current();
    }
    if let Some(cell) = tables.flow(&FlowKey::of(flow)) {
        let backend = cell.load().backend();
        if keeps_flows(tables, backend) {
            return backend;
        }
    }
    if slot.has_base() && keeps_flows(tables, slot.base()) { slot.base() } else { slot.current() }
}

/// Why there is no backend of that index.
#[inline(always)]
pub const fn no_backend(index: u32) -> DropReason {
    match index {
        NOBODY => DropReason::NoBackend,
        REFUSED => DropReason::SynRefused,
        _ => DropReason::Inconsistent,
    }
}

/// What a packet says of its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A SYN: a new connection, or the same one asking again.
    Opens,
    /// It exists.
    Goes,
    /// FIN or RST.
    Ends,
}

impl Sign {
    /// Of a packet with those control bits.
    #[inline(always)]
    pub const fn of(control: u8) -> Self {
        if control & (tcp::SYN | tcp::ACK) == tcp::SYN {
            Self::Opens
        } else if control & (tcp::FIN | tcp::RST) != 0 {
            Self::Ends
        } else {
            Self::Goes
        }
    }
}

/// The flow's state after a packet.
#[inline(always)]
const fn next_state(state: FlowState, sign: Sign) -> FlowState {
    match (state, sign) {
        (FlowState::Closing, _) | (_, Sign::Ends) => FlowState::Closing,
        (FlowState::HalfOpen, Sign::Opens) => FlowState::HalfOpen,
        (FlowState::Established, _) | (FlowState::HalfOpen, Sign::Goes) => FlowState::Established,
    }
}

/// Index of the backend of a flow whose slot is not stable. Not inlined: the stable path shall not carry it along.
#[inline(never)]
fn remembered<T: Tables>(tables: &T, key: &FlowKey, slot: u64, control: u8) -> u32 {
    let slot = Slot(slot);
    let sign = Sign::of(control);
    let now_ms = tables.now_ms();
    #[expect(clippy::cast_possible_truncation, reason = "seconds since boot fit for 136 years")]
    let now_s = (now_ms / 1_000) as u32;
    let cell = tables.flow(key);
    if let Some(cell) = &cell {
        let known = cell.load();
        // After a FIN or RST, a SYN is a new connection from the same port.
        let reopened = sign == Sign::Opens && known.state() == FlowState::Closing;
        if !reopened && keeps_flows(tables, known.backend()) {
            let next = FlowValue::new(known.backend(), next_state(known.state(), sign), now_s);
            cell.update(known, next);
            count_hit(tables);
            return known.backend();
        }
    }
    let base = slot.has_base() && keeps_flows(tables, slot.base());
    let backend = if base && sign != Sign::Opens { slot.base() } else { slot.current() };
    if backend == NOBODY {
        return NOBODY;
    }
    let state =
        next_state(if sign == Sign::Opens { FlowState::HalfOpen } else { FlowState::Established }, sign);
    let value = FlowValue::new(backend, state, now_s);
    if let Some(cell) = &cell {
        // What was known of it is over; the entry is there to be used again.
        cell.update(cell.load(), value);
        return backend;
    }
    let resets = control & tcp::RST != 0;
    if !base || resets || try_record(tables, key, &value, kind(key, sign), now_ms) {
        return backend;
    }
    match (sign, slot.phase()) {
        (Sign::Opens, Phase::Settling) => REFUSED,
        // Its later packets are unknown as well, and go there too.
        _ => slot.base(),
    }
}

#[inline(always)]
fn keeps_flows<T: Tables>(tables: &T, index: u32) -> bool {
    tables.backend(index).is_some_and(crate::abi::Backend::keeps_flows)
}

#[inline(always)]
const fn kind(key: &FlowKey, sign: Sign) -> RecordKind {
    match sign {
        _ if key.protocol != tcp::PROTOCOL as u32 => RecordKind::Udp,
        Sign::Opens => RecordKind::Opening,
        Sign::Goes | Sign::Ends => RecordKind::Established,
    }
}

#[inline(always)]
fn count_hit<T: Tables>(tables: &T) {
    let _ = tables.with_recorder(|recorder, _| {
        recorder.counters.hits = recorder.counters.hits.wrapping_add(1);
    });
}

/// Remembers the flow if there is room and budget; counts either way.
#[inline(always)]
fn try_record<T: Tables>(
    tables: &T,
    key: &FlowKey,
    value: &FlowValue,
    kind: RecordKind,
    now_ms: u64,
) -> bool {
    let recorded = tables.with_recorder(|recorder, settings| {
        let recorded = recorder.take(kind, settings, now_ms) && tables.record(key, value);
        let counter =
            if recorded { &mut recorder.counters.recorded } else { recorder.counters.refused(kind) };
        *counter = counter.wrapping_add(1);
        recorded
    });
    recorded == Some(true)
}
