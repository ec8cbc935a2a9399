//! What operators should know as long as it is so: the sentences that `lbctl status` shows.
//!
//! Always holds: all of them come from [`all`], whoever asks, so that none vanishes while what it is about remains.

use super::ports::{self, Links};
use super::state::State;
use super::{attach, blind, certificates, vips};
use crate::api::types::InterfaceInfo;
use crate::model::{Model, Node};
use std::collections::BTreeSet;
use std::time::SystemTime;

/// What the last attempt at each part of the node's set-up could not do, in sentences.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Attaching again what came off.
    pub attaching: Vec<String>,
    /// Settings of the stack that forwarding needs.
    pub forwarding: Vec<String>,
    /// VIPs on the node's interfaces.
    pub vips: Vec<String>,
    /// VIPs on interfaces that are no longer the node's.
    pub elsewhere: Vec<String>,
}

/// What notices are made from.
pub struct Sources<'a> {
    /// The node as it is configured.
    pub node: &'a Node,
    /// Every interface.
    pub links: &'a Links,
    /// Interfaces that packets to backends leave by.
    pub ways: &'a BTreeSet<u32>,
    /// Where the program is attached.
    pub interfaces: &'a [InterfaceInfo],
    /// Parts of the datapath that the kernel refused, with its reasons.
    pub refused: &'a [(&'static str, String)],
    /// What could not be done.
    pub troubles: &'a Troubles,
    /// Certificates that expire, and who cannot be checked.
    pub checks: Vec<String>,
}

/// Every notice there is, each once.
pub fn all(sources: &Sources<'_>) -> Vec<String> {
    let Sources { node, links, ways, interfaces, refused, troubles, checks } = sources;
    let mut notices = attach::notices(interfaces, node.xdp_mode, links);
    notices.extend(ports::notices(node, links));
    notices.extend(ports::egress_notices(node, links, ways));
    notices.extend(ports::offload_notices(node, links));
    for sentence in refused.iter().map(refusal) {
        // Programs for packets in one piece and in several are refused alike.
        if !notices.contains(&sentence) {
            notices.push(sentence);
        }
    }
    let Troubles { attaching, forwarding, vips, elsewhere } = troubles;
    notices.extend([attaching, forwarding, vips, elsewhere].into_iter().flatten().chain(checks).cloned());
    notices
}

fn refusal((program, reason): &(&'static str, String)) -> String {
    format!(
        "this kernel refused a part of the datapath, {program} ({reason}); packets that need it go to the stack and are \
         counted as `unavailable`"
    )
}

/// Brings the notices up to date and logs those that are new, which are returned.
pub fn renew(state: &mut State, node: &Node, links: &Links) -> Vec<String> {
    let ways = state.hops().values().flatten().map(|hop| hop.ifindex).collect();
    let notices = all(&Sources {
        node,
        links,
        ways: &ways,
        interfaces: &state.interfaces,
        refused: state.dataplane.refused(),
        troubles: &state.troubles,
        checks: of_checks(state),
    });
    let fresh: Vec<String> =
        notices.iter().filter(|notice| !state.notices.contains(notice)).cloned().collect();
    for notice in &fresh {
        tracing::warn!("{notice}");
    }
    state.notices = notices;
    fresh
}

/// What checks have found that is not about a backend's health.
fn of_checks(state: &State) -> Vec<String> {
    let (model, checked) = (&state.loaded.model, state.health());
    let mut sentences = certificates::expiring(model, &checked, SystemTime::now());
    sentences.extend(blind::unasked(model, &checked));
    sentences
}

/// Switches on what forwarding needs, and keeps in mind what could not be.
pub fn enable_forwarding(state: &mut State, model: &Model, links: &Links) {
    state.troubles.forwarding = vips::enable_forwarding(model, links);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::AttachMode;
    use crate::config;
    use crate::netlink::Link;
    use std::path::Path;

    fn node() -> Node {
        config::parse("[node]\ninterfaces = [\"test0\"]\n", Path::new("test.toml")).unwrap().model.node
    }

    #[test]
    fn whatever_is_wrong_is_among_the_notices_every_time() {
        let (node, links) = (node(), Links::from([(7, Link::ethernet(7, "test0"))]));
        let interface = InterfaceInfo {
            name: "test0".to_owned(),
            ifindex: 7,
            mode: AttachMode::Generic,
            program_id: 1,
            adopted: false,
        };
        let refused =
            [("lb_errors", "no such helper".to_owned()), ("lb_errors", "no such helper".to_owned())];
        let say = |text: &str| vec![text.to_owned()];
        let troubles = Troubles {
            attaching: say("test0 is bare"),
            forwarding: say("rp_filter stays"),
            vips: say("VIP refused"),
            elsewhere: say("VIP stays"),
        };
        let sources = Sources {
            node: &node,
            links: &links,
            ways: &BTreeSet::new(),
            interfaces: &[interface],
            refused: &refused,
            troubles: &troubles,
            checks: Vec::new(),
        };
        let notices = all(&sources);
        let expected = [
            "generic mode",
            "refused a part",
            "test0 is bare",
            "rp_filter stays",
            "VIP refused",
            "VIP stays",
        ];
        assert_eq!(notices.len(), expected.len(), "{notices:?}");
        for part in expected {
            assert_eq!(
                notices.iter().filter(|notice| notice.contains(part)).count(),
                1,
                "{part}: {notices:?}"
            );
        }
        assert_eq!(all(&sources), notices);
    }

    #[test]
    fn where_all_is_well_there_are_no_notices() {
        let (node, links) = (node(), Links::from([(7, Link::ethernet(7, "test0"))]));
        let troubles = Troubles::default();
        let sources = Sources {
            node: &node,
            links: &links,
            ways: &BTreeSet::from([7]),
            interfaces: &[],
            refused: &[],
            troubles: &troubles,
            checks: Vec::new(),
        };
        assert_eq!(all(&sources), [""; 0]);
    }
}
