//! VIPs on the node, and what the node's stack needs for forwarding.

use super::state::State;
use crate::api::types::VipInfo;
use crate::model::{ForwardMode, Model, VipOwnership};
use crate::netlink::{Netlink, NetlinkError, announce, sysctl};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Puts the model's VIPs on the first interface, and takes those away that the agent put there and nobody wants any
/// more. Failures are returned as sentences: one VIP that fails must not keep the others from serving.
pub async fn assign(netlink: &Netlink, model: &Model) -> Vec<String> {
    let Some(interface) = model.node.interfaces.first() else { return Vec::new() };
    let wanted = match model.node.vips {
        VipOwnership::Assign => model.node_addresses(),
        VipOwnership::External => BTreeSet::new(),
    };
    let mut problems = Vec::new();
    let link = match netlink.link_by_name(interface).await {
        Ok(link) => link,
        Err(error) => return vec![format!("VIPs cannot be assigned: {error}")],
    };
    let present: BTreeSet<IpAddr> = match netlink.addresses(link.index).await {
        Ok(addresses) => addresses.iter().map(|address| address.address).collect(),
        Err(error) => return vec![format!("VIPs cannot be assigned: {error}")],
    };
    for vip in wanted.difference(&present) {
        match netlink.add_vip(link.index, *vip).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("VIP {vip} added to {interface}");
                if let Err(error) = announce::announce(&link, *vip) {
                    tracing::warn!("{error}");
                }
            }
            Err(error) => problems.push(format!("VIP {vip} cannot be added to {interface}: {error}")),
        }
    }
    problems.extend(withdraw(netlink, link.index, &wanted).await.err().map(|error| error.to_string()));
    problems
}

/// Takes the agent's own VIPs off every interface but the one that has them now.
pub async fn withdraw_elsewhere(netlink: &Netlink, model: &Model) -> Result<(), NetlinkError> {
    let home = model.node.interfaces.first();
    for link in netlink.links().await?.iter().filter(|link| Some(&link.name) != home) {
        withdraw(netlink, link.index, &BTreeSet::new()).await?;
    }
    Ok(())
}

/// Takes the agent's own VIPs off an interface, except those in `keep`. Returns what went.
///
/// # Errors
/// When the kernel refuses.
pub async fn withdraw(
    netlink: &Netlink,
    ifindex: u32,
    keep: &BTreeSet<IpAddr>,
) -> Result<Vec<IpAddr>, NetlinkError> {
    let mut gone = Vec::new();
    for address in netlink.addresses(ifindex).await? {
        if address.ours
            && !keep.contains(&address.address)
            && netlink.remove_vip(ifindex, address.address).await?
        {
            tracing::info!("VIP {} removed", address.address);
            gone.push(address.address);
        }
    }
    Ok(gone)
}

/// Switches on what the return paths of `nat` and `full-nat` need: forwarding (the FIB lookup answers only then), and for packets
/// that are left to the stack for want of a neighbour, sources that are the node's own VIPs.
pub fn enable_forwarding(model: &Model) -> Vec<String> {
    if !model.pools.values().any(|pool| matches!(pool.mode, ForwardMode::Nat | ForwardMode::FullNat)) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for interface in &model.node.interfaces {
        let changes = sysctl::enable_forwarding(interface)
            .and_then(|changes| Ok((changes, sysctl::set_accept_local(interface, true)?)));
        match changes {
            Ok((changes, local)) => {
                for change in changes.into_iter().chain(local) {
                    tracing::info!("{change} (nat and full-nat pools return through this node)");
                }
            }
            Err(error) => problems.push(format!("nat replies may not pass {interface}: {error}")),
        }
    }
    problems
}

/// Where the model's VIPs and the addresses that `full-nat` sends from are. Networks are routed here, on no interface.
pub async fn report(state: &State) -> Vec<VipInfo> {
    let mut vips = Vec::new();
    let model = &state.loaded.model;
    let snat = model.snat_addresses();
    for network in model.vips().into_iter().filter(|vip| vip.single().is_none()) {
        let (address, prefix_bits) = (network.address(), Some(network.bits()));
        vips.push(VipInfo { address, prefix_bits, ..VipInfo::nowhere(address) });
    }
    for address in model.node_addresses() {
        let mut info = VipInfo { sends: snat.contains(&address), ..VipInfo::nowhere(address) };
        for interface in &state.interfaces {
            let addresses = state.netlink.addresses(interface.ifindex).await.unwrap_or_default();
            if let Some(found) = addresses.iter().find(|found| found.address == address) {
                info = VipInfo { interface: Some(interface.name.clone()), owned: found.ours, ..info };
                break;
            }
        }
        vips.push(info);
    }
    vips
}
