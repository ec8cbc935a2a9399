//! `full-nat`: both addresses are replaced, and a session says by which, in either direction.
//!
//! Always holds: a session has both of its entries or is being made or taken away; the entry of replies, whose key nobody
//! else may have, is made first and taken away last; what is no session's reply is left to the node, untouched.

use super::choose::{self, Sign};
use super::deliver::{complain, forwarded, translate};
use super::fragments::{Fate, NO_ADDRESS};
use super::headers::Headers;
use super::nat::{Replacement, Side};
use super::ports::Walk;
use super::send::{self, Way};
use super::{Complaint, Owner, Step, Verdict, Work, fragments};
use crate::abi::{
    AnswerKind, Backend, BackendFlags, DropReason, FlowKey, ForwardMode, ForwardReason, FragmentFate,
    PassReason, Session, SessionSeen, SessionState, SessionWay, is_mapped,
};
use crate::tables::{Put, RouteQuestion, Tables, Traffic};
use crate::wire::{Packet, tcp};

/// Addresses and ports that are tried for a session at most.
const MOST_TRIES: u32 = 64;

/// Of those, how many are asked for a session that may make room when none is free.
const MOST_ASKED: u32 = 16;

/// How long a session that is no connection was left alone before it may make room, in seconds: longer than a handshake takes
/// on any path.
const LEFT_ALONE_S: u32 = 3;

/// Sends the packet that `work` describes on.
#[inline(always)]
pub fn session<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work) -> Step {
    let found = match work.owner {
        Owner::SessionFragment => Ok(of_fragment(work)),
        Owner::SessionReply => of_reply(tables, work),
        _ => of_request(tables, work),
    };
    match found {
        Ok(way) => forward(packet, tables, work, &way),
        Err(step) => step,
    }
}

/// Why a packet goes nowhere.
#[inline(always)]
const fn dropped(reason: DropReason) -> Step {
    Step::Done(Verdict::Drop(reason))
}

/// The present, in seconds of the monotonic clock.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "seconds since boot fit for 136 years")]
fn now_s<T: Tables>(tables: &T) -> u32 {
    (tables.now_ms() / 1_000) as u32
}

/// The state of a direction after a packet.
#[inline(always)]
const fn next_state(state: SessionState, sign: Sign) -> SessionState {
    match (state, sign) {
        (SessionState::Closing, _) | (_, Sign::Ends) => SessionState::Closing,
        (SessionState::Silent | SessionState::Opening, Sign::Opens) => SessionState::Opening,
        (SessionState::Established, _) | (SessionState::Silent | SessionState::Opening, Sign::Goes) => {
            SessionState::Established
        }
    }
}

/// What a packet of `headers` says of its flow; UDP always that it goes.
#[inline(always)]
const fn sign_of(headers: &Headers) -> Sign {
    Sign::of(headers.control)
}

/// A later fragment: its addresses are known, and ports it has none.
#[inline(always)]
const fn of_fragment(work: &Work) -> SessionWay {
    SessionWay {
        source: work.source,
        destination: work.reverse.vip,
        source_port: work.headers.flow.source_port,
        destination_port: work.headers.flow.destination_port,
        service_index: work.reverse.service_index,
        backend_index: work.reverse.backend_index,
        reply: work.reverse.port as u32,
    }
}

/// A packet to an address that sessions send from.
#[inline(always)]
fn of_reply<T: Tables>(tables: &T, work: &mut Work) -> Result<SessionWay, Step> {
    let headers = &work.headers;
    if let Some(cell) = tables.session(&headers.flow_key())
        && cell.way.reply != 0
    {
        let found = cell.seen();
        let state = next_state(found.state(), sign_of(headers));
        cell.update(found, SessionSeen::new(state, now_s(tables)));
        return Ok(cell.way);
    }
    // The node's own connections.
    fragments::remember(tables, work, Fate::PASS, &NO_ADDRESS, &NO_ADDRESS);
    Err(Step::Done(Verdict::Pass(PassReason::NoService)))
}

/// A client's packet: the way of its session, which is made if this is its first.
#[inline(always)]
fn of_request<T: Tables>(tables: &T, work: &mut Work) -> Result<SessionWay, Step> {
    // Sooner than the rest: nothing is made for a packet that goes no further.
    if work.headers.ttl <= 1 {
        return Err(complain(work, Complaint::Expired, 0));
    }
    let headers = &work.headers;
    let sign = sign_of(headers);
    let key = headers.flow_key();
    let now_s = now_s(tables);
    if let Some(cell) = tables.session(&key)
        && cell.way.reply == 0
    {
        let (way, found) = (cell.way, cell.seen());
        let replies = way.answers(key.protocol);
        if keeps_flows(tables, way.backend_index) && !is_reopened(tables, found, sign, &replies) {
            cell.update(found, SessionSeen::new(next_state(found.state(), sign), now_s));
            return Ok(way);
        }
        drop_both(tables, &key, &replies);
    }
    if key.protocol == u32::from(tcp::PROTOCOL)
        && !matches!(sign, Sign::Opens)
        && !may_be_reset(tables, headers)
    {
        return Err(dropped(DropReason::NoSession));
    }
    make(tables, work, &key, now_s)
}

/// Whether a segment in the middle of a connection without a session goes to a backend all the same, which knows nothing of
/// it and resets it: the client need not wait in vain. Nobody answers a reset.
#[inline(always)]
fn may_be_reset<T: Tables>(tables: &T, headers: &Headers) -> bool {
    headers.control & tcp::RST == 0 && tables.may_answer(AnswerKind::Reset)
}

/// Whether a packet is the first of a new connection from the port of one that is over: a SYN after a FIN or RST of either
/// side.
#[inline(always)]
fn is_reopened<T: Tables>(tables: &T, found: SessionSeen, sign: Sign, replies: &FlowKey) -> bool {
    if !matches!(sign, Sign::Opens) {
        return false;
    }
    matches!(found.state(), SessionState::Closing)
        || tables.session(replies).is_none_or(|cell| matches!(cell.seen().state(), SessionState::Closing))
}

/// Takes a session away: the client's entry, then that of its replies, unless somebody else has made one there since.
#[inline(always)]
fn drop_both<T: Tables>(tables: &T, key: &FlowKey, replies: &FlowKey) {
    tables.drop_session(key);
    let is_ours = |way: &SessionWay| way.destination == key.source && way.destination_port == key.source_port;
    if tables.session(replies).is_some_and(|cell| is_ours(&cell.way)) {
        tables.drop_session(replies);
    }
}

#[inline(always)]
fn keeps_flows<T: Tables>(tables: &T, index: u32) -> bool {
    tables.backend(index).is_some_and(is_usable)
}

/// Whether sessions may lead to a backend.
#[inline(always)]
const fn is_usable(backend: &Backend) -> bool {
    backend.flags & BackendFlags::VALID != 0 && backend.keeps_flows()
}

/// Makes a session for a client's packet.
#[inline(always)]
fn make<T: Tables>(tables: &T, work: &Work, key: &FlowKey, now_s: u32) -> Result<SessionWay, Step> {
    let headers = &work.headers;
    let hash = choose::hash(tables, headers);
    let index = choose::newcomer(tables, headers, &work.service, hash);
    let Some(backend) = tables.backend(index) else {
        return Err(dropped(choose::no_backend(index)));
    };
    if !is_usable(backend) {
        return Err(dropped(DropReason::NoBackend));
    }
    if headers.v4 == (backend.flags & BackendFlags::V6 != 0) {
        return Err(dropped(DropReason::Inconsistent));
    }
    let flow = &headers.flow;
    let mut way = SessionWay {
        source: [0; 4],
        destination: backend.address,
        source_port: 0,
        destination_port: if backend.port == 0 { flow.destination_port } else { backend.port },
        service_index: work.service.index,
        backend_index: index,
        reply: 0,
    };
    if let Err(reason) = take_port(tables, work, backend, &mut way, hash, now_s) {
        return Err(dropped(reason));
    }
    let is_tcp = key.protocol == u32::from(tcp::PROTOCOL);
    let state = if is_tcp { SessionState::Opening } else { SessionState::Established };
    match tables.put_session(key, &Session { way, seen: SessionSeen::new(state, now_s) }) {
        Put::Done => Ok(way),
        Put::Full => {
            tables.drop_session(&way.answers(key.protocol));
            Err(dropped(DropReason::SessionsFull))
        }
        // Another CPU was faster: its session it is.
        Put::Taken => {
            tables.drop_session(&way.answers(key.protocol));
            match tables.session(key) {
                Some(cell) if cell.way.reply == 0 => Ok(cell.way),
                _ => Err(dropped(DropReason::NoSession)),
            }
        }
    }
}

/// Makes the entry of replies under the first address and port that are free, and writes them into `way`.
#[inline(always)]
fn take_port<T: Tables>(
    tables: &T,
    work: &Work,
    backend: &Backend,
    way: &mut SessionWay,
    hash: u64,
    now_s: u32,
) -> Result<(), DropReason> {
    let flow = &work.headers.flow;
    let session = Session {
        way: SessionWay {
            source: flow.destination,
            destination: flow.source,
            source_port: flow.destination_port,
            destination_port: flow.source_port,
            service_index: way.service_index,
            backend_index: way.backend_index,
            reply: 1,
        },
        seen: SessionSeen::new(SessionState::Silent, now_s),
    };
    let walk = Walk::new(hash, now_s, backend.snat_count);
    for at in 0..MOST_TRIES {
        let Some(address) = tables.snat(u32::from(backend.snat_first).wrapping_add(walk.address(at))) else {
            return Err(DropReason::Inconsistent);
        };
        if is_mapped(address) != work.headers.v4 {
            return Err(DropReason::Inconsistent);
        }
        way.source = address;
        way.source_port = walk.port(at).to_be();
        match tables.put_session(&way.answers(u32::from(flow.protocol)), &session) {
            Put::Done => return Ok(()),
            Put::Full => return Err(DropReason::SessionsFull),
            Put::Taken => {}
        }
    }
    take_over(tables, work, backend, way, &walk, &session)
}

/// The same where nothing is free: in the place of a session that is over, and only kept because the backend may remember its
/// 5-tuple (TIME-WAIT, RFC 9293 section 3.4.2), or that never was a connection, as a flood's.
#[inline(always)]
fn take_over<T: Tables>(
    tables: &T,
    work: &Work,
    backend: &Backend,
    way: &mut SessionWay,
    walk: &Walk,
    session: &Session,
) -> Result<(), DropReason> {
    let protocol = u32::from(work.headers.flow.protocol);
    for at in 0..MOST_ASKED {
        let Some(address) = tables.snat(u32::from(backend.snat_first).wrapping_add(walk.address(at))) else {
            return Err(DropReason::Inconsistent);
        };
        way.source = address;
        way.source_port = walk.port(at).to_be();
        let replies = way.answers(protocol);
        let Some(cell) = tables.session(&replies) else { continue };
        let (client, found) = (cell.way.answers(protocol), cell.seen());
        if !makes_room(tables, &client, found, session.seen.seen_s()) {
            continue;
        }
        tables.drop_session(&client);
        tables.drop_session(&replies);
        match tables.put_session(&replies, session) {
            Put::Done => return Ok(()),
            Put::Full => return Err(DropReason::SessionsFull),
            Put::Taken => {}
        }
    }
    Err(DropReason::PortsExhausted)
}

/// Whether a session may be taken away for another: replies were last seen as `found`, `client` is the key of its other half.
#[inline(always)]
fn makes_room<T: Tables>(tables: &T, client: &FlowKey, found: SessionSeen, now_s: u32) -> bool {
    let Some(cell) = tables.session(client) else {
        // Half a session: it is being made, or was given up.
        return now_s.wrapping_sub(found.seen_s()) > LEFT_ALONE_S;
    };
    let seen = cell.seen();
    !is_connection(seen.state(), found.state())
        && now_s.wrapping_sub(seen.seen_s()) > LEFT_ALONE_S
        && now_s.wrapping_sub(found.seen_s()) > LEFT_ALONE_S
}

/// Whether both sides spoke, and one at least has not finished.
#[inline(always)]
const fn is_connection(client: SessionState, replies: SessionState) -> bool {
    use SessionState::{Closing, Established};
    matches!((client, replies), (Established, Established | Closing) | (Closing, Established))
}

/// Replaces both sides of the packet, sends it on, and counts.
#[inline(always)]
fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work, way: &SessionWay) -> Step {
    if work.headers.ttl <= 1 {
        return complain(work, Complaint::Expired, 0);
    }
    let to_client = way.reply != 0;
    let Some(out) = way_out(packet, tables, &work.headers, way) else {
        return dropped(DropReason::NoBackend);
    };
    let changes = [
        Replacement { side: Side::Source, address: way.source, port: way.source_port },
        Replacement { side: Side::Destination, address: way.destination, port: way.destination_port },
    ];
    let reason = if to_client { ForwardReason::FullNatReply } else { ForwardReason::FullNat };
    let step = translate(packet, work, &out, &changes, reason);
    if forwarded(step) {
        count(tables, work, way);
    }
    step
}

/// The way out: to the backend by what is known of it, to the client by the kernel's routes. None if there is no such backend.
#[inline(always)]
fn way_out<P: Packet, T: Tables>(packet: &P, tables: &T, headers: &Headers, way: &SessionWay) -> Option<Way> {
    let (protocol, length_bytes) = (headers.flow.protocol, headers.length_bytes);
    if way.reply == 0 {
        let backend = tables.backend(way.backend_index)?;
        if backend.flags & BackendFlags::VALID == 0 {
            return None;
        }
        return Some(send::to_backend(packet, tables, backend, protocol, length_bytes, way.source));
    }
    let question = RouteQuestion {
        v4: headers.v4,
        protocol,
        length_bytes,
        ingress_ifindex: packet.ingress_ifindex(),
        source: way.source,
        destination: way.destination,
    };
    Some(send::by_route(packet, tables, &question))
}

/// Counts a packet that left, and remembers its way for the fragments behind it.
#[inline(always)]
fn count<T: Tables>(tables: &T, work: &mut Work, way: &SessionWay) {
    let headers = &work.headers;
    let bytes = u32::from(headers.length_bytes);
    let fate = if way.reply == 0 {
        let traffic = Traffic { bytes, opens: headers.opens() };
        tables.count_service(way.service_index, traffic);
        tables.count_backend(way.backend_index, traffic);
        FragmentFate::SessionToBackend
    } else {
        tables.count_reply(way.service_index, way.backend_index, bytes);
        FragmentFate::SessionToClient
    };
    let fate = Fate {
        goes: fate,
        mode: ForwardMode::FullNat as u8,
        service_index: way.service_index,
        backend_index: way.backend_index,
    };
    fragments::remember(tables, work, fate, &way.source, &way.destination);
}
