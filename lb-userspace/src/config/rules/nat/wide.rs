//! Replies of ranges of ports, against each other and against those of single ports.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::{Replier, places, reply_source};
use crate::config::problem::{Problem, Problems};
use crate::config::source::Span;
use crate::model::{Ports, Prefix, Protocol};

/// Whom replies from some ports belong to: a VIP, with the ports as they are, or with another one instead.
type Owner = (Prefix, Option<u16>);

/// Ports that replies come from.
#[derive(Clone, Copy)]
struct Source<'d> {
    first: u16,
    last: u16,
    owner: Owner,
    replier: Replier<'d>,
}

impl Source<'_> {
    fn is_wide(&self) -> bool {
        self.replier.frontend.ports.value.one().is_none()
    }
}

/// Everything that replies come from, by address and protocol.
#[derive(Default)]
pub(super) struct Sources<'d>(BTreeMap<(IpAddr, Protocol), Vec<Source<'d>>>);

impl<'d> Sources<'d> {
    pub fn add(&mut self, replier: Replier<'d>) {
        let Some(((address, protocol), source)) = source(replier) else { return };
        self.0.entry((address, protocol)).or_default().push(source);
    }

    /// Reports ports of ranges that two frontends would get replies from.
    pub fn check(self, reported: &mut HashSet<(Span, Span)>, problems: &mut Problems) {
        for ((address, _), mut sources) in self.0 {
            if !sources.iter().any(Source::is_wide) {
                continue;
            }
            sources.sort_by_key(|source| source.first);
            // Those that reach furthest so far, of two owners.
            let mut reach: [Option<Source<'d>>; 2] = [None, None];
            for source in sources {
                let other = reach.into_iter().flatten().find(|before| {
                    before.owner != source.owner
                        && before.last >= source.first
                        && (before.is_wide() || source.is_wide())
                });
                if let Some(before) = other {
                    let (first_span, second_span) = places(before.replier, source.replier);
                    if reported.insert((first_span.clone(), second_span.clone())) {
                        let at = SocketAddr::new(address, source.first.max(1));
                        problems.push(clash(before.replier, source.replier, at));
                    }
                }
                reach = further(reach, source);
            }
        }
    }
}

/// The two of different owners that reach furthest.
fn further<'d>([best, second]: [Option<Source<'d>>; 2], next: Source<'d>) -> [Option<Source<'d>>; 2] {
    let Some(first) = best else { return [Some(next), second] };
    if next.last > first.last {
        let second = if next.owner == first.owner { second } else { Some(first) };
        return [Some(next), second];
    }
    let replaces = next.owner != first.owner && second.is_none_or(|second| next.last > second.last);
    [Some(first), if replaces { Some(next) } else { second }]
}

fn source(replier: Replier<'_>) -> Option<((IpAddr, Protocol), Source<'_>)> {
    let frontend = replier.frontend;
    let vip = frontend.vip.value;
    if let Some((address, port, protocol)) = reply_source(replier) {
        let instead = frontend.ports.value.one().filter(|own| *own != port);
        return Some((
            (address, protocol),
            Source { first: port, last: port, owner: (vip, instead), replier },
        ));
    }
    let (address, port) = replier.backend.address.as_ref()?.value;
    let keeps = port.is_none() && vip.single().is_some() && address.is_ipv4() == vip.is_ipv4();
    let wide = frontend.ports.value;
    if !keeps || matches!(wide, Ports::One(_)) {
        return None;
    }
    let source = Source { first: *wide.all().start(), last: *wide.all().end(), owner: (vip, None), replier };
    Some(((address, frontend.protocol), source))
}

fn clash(one: Replier<'_>, other: Replier<'_>, source: SocketAddr) -> Problem {
    let (one_span, other_span) = places(one, other);
    let (first, second, first_span, second_span) = if one_span.start < other_span.start {
        (one, other, one_span, other_span)
    } else {
        (other, one, other_span, one_span)
    };
    let message = format!(
        "nat cannot tell replies to {} from replies to {}: {} answers both from {source}",
        second.frontend.shown(),
        first.frontend.shown(),
        second.backend.shown()
    );
    let hint =
        "let ranges share no port with what else a server answers, or use mode = \"full-nat\" or a DSR mode";
    Problem::relation(second_span, message, hint).related(first_span, "the first")
}
