//! Attaching the program to the configured interfaces.

use super::AgentError;
use super::ports::Links;
use super::state::State;
use crate::api::types::{AttachMode, InterfaceInfo};
use crate::dataplane::kernel::{Attached, KernelDataplane, KernelError, program_name};
use crate::model::{Node, XdpMode};
use crate::netlink::{Link, Netlink, NetlinkError, XdpAttachmentMode};
use crate::telemetry::events::EventKind;

/// Interfaces that are named in an error at most.
const MAX_NAMES_SHOWN: usize = 16;

/// Attaches to every interface of `node` that is not among `attached` yet. What was attached before an error is
/// taken off again.
///
/// # Errors
/// When an interface is missing, has a program of somebody else, or cannot take ours.
pub async fn attach_all(
    dataplane: &mut KernelDataplane,
    netlink: &Netlink,
    node: &Node,
    attached: &[InterfaceInfo],
) -> Result<Vec<InterfaceInfo>, AgentError> {
    let mut fresh: Vec<InterfaceInfo> = Vec::new();
    for name in &node.interfaces {
        if attached.iter().any(|interface| interface.name == *name) {
            continue;
        }
        match attach_one(dataplane, netlink, name, node.xdp_mode).await {
            Ok(interface) => fresh.push(interface),
            Err(error) => {
                // One that was adopted serves already: it stays.
                for interface in fresh.iter().filter(|interface| !interface.adopted) {
                    if let Err(error) = dataplane.detach(&interface.name) {
                        tracing::error!("cannot take the program off {} again: {error}", interface.name);
                    }
                }
                return Err(error);
            }
        }
    }
    Ok(fresh)
}

/// Whether every interface of `node` exists and is free or `linked` (has a link of an earlier agent), asked before
/// anything is changed.
///
/// # Errors
/// The first interface that is missing or has a program of somebody else.
pub async fn preflight(netlink: &Netlink, node: &Node, linked: &[String]) -> Result<(), AgentError> {
    for name in &node.interfaces {
        let xdp = find(netlink, name).await?.xdp;
        if let Some(xdp) = xdp.filter(|_| !linked.contains(name)) {
            return Err(foreign(name, xdp.program_id));
        }
    }
    Ok(())
}

/// The interface, or an error that names those there are.
async fn find(netlink: &Netlink, name: &str) -> Result<Link, AgentError> {
    match netlink.link_by_name(name).await {
        Ok(link) => Ok(link),
        Err(NetlinkError::NoSuchLink { .. }) => Err(no_interface(netlink, name).await),
        Err(error) => Err(error.into()),
    }
}

fn foreign(interface: &str, id: u32) -> AgentError {
    let name = program_name(id).unwrap_or_else(|| "without a name".to_owned());
    AgentError::Foreign { interface: interface.to_owned(), name, id }
}

async fn attach_one(
    dataplane: &mut KernelDataplane,
    netlink: &Netlink,
    name: &str,
    mode: XdpMode,
) -> Result<InterfaceInfo, AgentError> {
    let link = find(netlink, name).await?;
    let result = dataplane.attach(name, mode != XdpMode::Generic, mode != XdpMode::Native);
    let attached = match (result, link.xdp) {
        (Ok(attached), _) => attached,
        (Err(KernelError::Foreign { .. }), Some(xdp)) => return Err(foreign(name, xdp.program_id)),
        (Err(error), _) => return Err(error.into()),
    };
    let mode = match attached {
        Attached::Native => AttachMode::Native,
        Attached::Generic => AttachMode::Generic,
        Attached::Adopted => match netlink.link_by_name(name).await?.xdp.map(|xdp| xdp.mode) {
            Some(XdpAttachmentMode::Generic) => AttachMode::Generic,
            _ => AttachMode::Native,
        },
    };
    let adopted = attached == Attached::Adopted;
    let program_id = netlink.link_by_name(name).await?.xdp.map_or(0, |xdp| xdp.program_id);
    tracing::info!(
        "{name}: XDP {mode:?}{}",
        if adopted { ", link of an earlier lbd taken over" } else { "" }
    );
    Ok(InterfaceInfo { name: name.to_owned(), ifindex: link.index, mode, program_id, adopted })
}

async fn no_interface(netlink: &Netlink, name: &str) -> AgentError {
    let links = netlink.links().await.unwrap_or_default();
    let names: Vec<String> = links.into_iter().map(|link| link.name).take(MAX_NAMES_SHOWN).collect();
    AgentError::NoInterface { interface: name.to_owned(), present: names.join(", ") }
}

/// Sentences for operators about interfaces that run in generic mode without having been told to.
pub fn notices(interfaces: &[InterfaceInfo], mode: XdpMode, links: &Links) -> Vec<String> {
    let is_of_kind = |interface: &InterfaceInfo, kind| {
        links.get(&interface.ifindex).is_some_and(|link| link.kind.as_deref() == Some(kind))
    };
    interfaces
        .iter()
        .filter(|interface| interface.mode == AttachMode::Generic && mode != XdpMode::Generic)
        .map(|interface| {
            if is_of_kind(interface, "bond") {
                return format!(
                    "{0} runs XDP in generic mode, which is slow: a bond has native mode (Linux 5.15) if each of its ports \
                     has, carries no other XDP program, and its mode is balance-rr, active-backup, balance-xor or 802.3ad \
                     (without the hash policy vlan+srcmac); mend that and run `lbd remove` and start again, or switch merging \
                     off, or large packets are dropped as too big: ethtool -K {0} gro off",
                    interface.name
                );
            }
            format!(
                "{} runs XDP in generic mode, which is slow: its driver refuses native mode (it has none, the MTU is too \
                 large, or it has too few queues); switch merging off, or large packets are dropped as too big: \
                 ethtool -K {0} gro off",
                interface.name
            )
        })
        .collect()
}

/// Looks whether the program is still where it was put, and attaches it again where it is not: an interface that went
/// and came back is a new one. Returns sentences about those that could not be mended.
pub async fn mend(state: &mut State) -> Vec<String> {
    let node = state.loaded.model.node.clone();
    let Ok(programs) = state.dataplane.program_ids() else { return Vec::new() };
    let mut problems = Vec::new();
    for name in &node.interfaces {
        let link = match state.netlink.find_link(name).await {
            Ok(link) => link,
            Err(error) => {
                state.netlink.reopen_after(&error);
                problems.push(format!("whether {name} has the datapath is not known: {error}"));
                continue;
            }
        };
        let known = state.interfaces.iter().find(|interface| interface.name == *name);
        let in_place = |link: &Link| {
            link.xdp.is_some_and(|xdp| programs.contains(&xdp.program_id))
                && known.is_some_and(|known| known.ifindex == link.index)
        };
        if link.as_ref().is_some_and(in_place) {
            continue;
        }
        state.interfaces.retain(|interface| interface.name != *name);
        match attach_one(&mut state.dataplane, &state.netlink, name, node.xdp_mode).await {
            Ok(interface) => {
                state.event(EventKind::Datapath, name, "attached again");
                state.interfaces.push(interface);
            }
            Err(error) => problems.push(format!("{name} is without the datapath: {error}")),
        }
    }
    problems
}
