//! VIPs on the node, and what the node's stack needs for forwarding.

use super::ports::{self, Links};
use super::state::State;
use crate::api::types::VipInfo;
use crate::model::{ForwardMode, Model, Ports, VipOwnership};
use crate::netlink::{Address, Link, Netlink, NetlinkError, Network, announce, sysctl};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// `rp_filter` that asks for the interface, too.
const STRICT: i32 = 1;

/// Puts the model's VIPs on the node's interfaces, and takes those away that the agent put there and nobody wants there any
/// more. Failures are returned as sentences: one VIP that fails must not keep the others from serving.
///
/// What is `kept` stays where it is: sessions send from it.
///
/// A VIP goes to the interface, or VLAN on top of one, that has an address in the same network: its clients, or their
/// gateway, ask for it there, and IPv6 answers only where it is. Without such a network it goes to the first interface.
pub async fn assign(netlink: &Netlink, model: &Model, kept: &BTreeSet<IpAddr>) -> Vec<String> {
    let (links, addresses) = match read(netlink).await {
        Ok(read) => read,
        Err(error) => return vec![format!("VIPs cannot be assigned: {error}")],
    };
    let homes = ports::interfaces(&model.node, &links);
    let Some(first) = homes.first() else {
        return vec![format!(
            "VIPs cannot be assigned: there is none of the interfaces {}",
            model.node.interfaces.join(", ")
        )];
    };
    let wanted = match model.node.vips {
        VipOwnership::Assign => model.node_addresses(),
        VipOwnership::External => BTreeSet::new(),
    };
    let mut keep: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut problems = Vec::new();
    for vip in wanted {
        let home = homes.iter().find(|link| is_on_link(vip, of(&addresses, link))).unwrap_or(first);
        keep.entry(home.index).or_default().insert(vip);
        if of(&addresses, home).iter().all(|present| present.address != vip) {
            problems.extend(add(netlink, home, vip).await.err());
        }
    }
    for link in &homes {
        let keep = keep.remove(&link.index).unwrap_or_default();
        let keep: BTreeSet<IpAddr> = keep.union(kept).copied().collect();
        let is_unwanted = |address: &Address| address.ours && !keep.contains(&address.address);
        if of(&addresses, link).iter().any(is_unwanted) {
            problems.extend(withdraw(netlink, link.index, &keep).await.err().map(|error| error.to_string()));
        }
    }
    problems.extend(end_networks(netlink, &networks_that_end_here(model)).await);
    problems.extend(what_the_node_loses(model, addresses.values().flatten()));
    problems
}

/// Sentences about services that take what the node's own connections need: answers come to ports that the kernel chose.
fn what_the_node_loses<'a>(model: &Model, addresses: impl Iterator<Item = &'a Address>) -> Vec<String> {
    // An address that is a network by itself is somebody's VIP, whoever put it there.
    let own: Vec<IpAddr> = addresses
        .filter(|address| !address.ours && !address.is_host())
        .map(|address| address.address)
        .collect();
    let mut sentences = Vec::new();
    for (name, service) in &model.services {
        if service.ports.iter().all(|ports| matches!(ports, Ports::One(_))) {
            continue;
        }
        for address in own.iter().filter(|address| service.vips.iter().any(|vip| vip.contains(**address))) {
            sentences.push(format!(
                "service {name} takes ports of {address}, an address of the node's own: answers to what the node asks from \
                 it (health checks, DNS, ssh) may go to backends; give the service an address of its own"
            ));
        }
    }
    sentences
}

/// Networks that are routed to the node although none of its interfaces has their addresses: what of them no service takes
/// would go back by the default route, and come again, until its TTL is used up.
fn networks_that_end_here(model: &Model) -> BTreeSet<Network> {
    if model.node.vips == VipOwnership::External {
        return BTreeSet::new();
    }
    let vips = model.vips();
    let networks = vips.iter().chain(&model.node.tunnel_sources);
    networks.filter(|network| network.single().is_none()).map(|it| (it.address(), it.bits())).collect()
}

/// Lets exactly these networks end at this node.
async fn end_networks(netlink: &Netlink, wanted: &BTreeSet<Network>) -> Vec<String> {
    let present = match netlink.unreachable_networks().await {
        Ok(present) => present,
        Err(error) => return vec![format!("routes of the VIPs' networks are not known: {error}")],
    };
    let mut problems = Vec::new();
    for network @ (address, bits) in wanted.difference(&present) {
        match netlink.add_unreachable(*network).await {
            Ok(_) => tracing::info!("what no service takes of {address}/{bits} ends here"),
            Err(error) => problems.push(format!(
                "packets to {address}/{bits} that no service takes may go round in circles: {error}"
            )),
        }
    }
    for network in present.difference(wanted) {
        problems.extend(netlink.remove_unreachable(*network).await.err().map(|error| error.to_string()));
    }
    problems
}

/// Takes every route of the agent's own away. Returns their networks.
///
/// # Errors
/// When the kernel refuses.
pub async fn release_networks(netlink: &Netlink) -> Result<BTreeSet<Network>, NetlinkError> {
    let present = netlink.unreachable_networks().await?;
    for network in &present {
        netlink.remove_unreachable(*network).await?;
    }
    Ok(present)
}

async fn add(netlink: &Netlink, link: &Link, vip: IpAddr) -> Result<(), String> {
    match netlink.add_vip(link.index, vip).await {
        Ok(false) => Ok(()),
        Ok(true) => {
            tracing::info!("VIP {vip} added to {}", link.name);
            if let Err(error) = announce::announce(link, vip) {
                tracing::warn!("{error}");
            }
            Ok(())
        }
        Err(error) => Err(format!("VIP {vip} cannot be added to {}: {error}", link.name)),
    }
}

/// Every interface, and the addresses of each.
async fn read(netlink: &Netlink) -> Result<(Links, BTreeMap<u32, Vec<Address>>), NetlinkError> {
    let links = netlink.links().await?.into_iter().map(|link| (link.index, link)).collect();
    Ok((links, netlink.all_addresses().await?))
}

fn of<'a>(addresses: &'a BTreeMap<u32, Vec<Address>>, link: &Link) -> &'a [Address] {
    addresses.get(&link.index).map_or(&[], Vec::as_slice)
}

/// Whether one of an interface's own addresses is in a network that has `vip` too.
fn is_on_link(vip: IpAddr, addresses: &[Address]) -> bool {
    addresses.iter().any(|address| !address.ours && address.network_has(vip))
}

/// Takes the agent's own VIPs off every interface that packets of services do not come in by.
pub async fn withdraw_elsewhere(netlink: &Netlink, model: &Model) -> Result<(), NetlinkError> {
    let (links, addresses) = read(netlink).await?;
    let homes: BTreeSet<u32> = ports::interfaces(&model.node, &links).iter().map(|link| link.index).collect();
    let elsewhere = addresses
        .iter()
        .filter(|(index, addresses)| !homes.contains(index) && addresses.iter().any(|address| address.ours));
    for (index, _) in elsewhere {
        withdraw(netlink, *index, &BTreeSet::new()).await?;
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

/// Switches on what the return paths of `nat` and `full-nat` need on the node's interfaces and their VLANs: forwarding (the FIB
/// lookup answers only then), and for packets that are left to the stack for want of a neighbour, sources that are the node's
/// own VIPs.
pub fn enable_forwarding(model: &Model, links: &Links) -> Vec<String> {
    if !model.pools.values().any(|pool| matches!(pool.mode, ForwardMode::Nat | ForwardMode::FullNat)) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for Link { name, .. } in ports::forwarding(&model.node, links) {
        let changes = sysctl::enable_forwarding(name)
            .and_then(|changes| Ok((changes, sysctl::set_accept_local(name, true)?)));
        match changes {
            Ok((changes, local)) => {
                for change in changes.into_iter().chain(local) {
                    tracing::info!("{change} (nat and full-nat pools return through this node)");
                }
            }
            Err(error) => problems.push(format!("nat replies may not pass {name}: {error}")),
        }
        // Packets that wait for a neighbour's MAC go through the stack with an address of the node as their source.
        if sysctl::reverse_path_filter(name).is_ok_and(|strictness| strictness == STRICT) {
            problems.push(format!(
                "rp_filter is strict (1) on {name}: the first packets to a neighbour whose MAC is not known yet are dropped by \
                 the stack; set it loose: sysctl net/ipv4/conf/{name}/rp_filter=2"
            ));
        }
    }
    problems
}

/// Where the model's VIPs and the addresses that `full-nat` sends from are. Networks are routed here, on no interface.
pub async fn report(state: &State) -> Vec<VipInfo> {
    let addresses = state.netlink.all_addresses().await.unwrap_or_default();
    let links = state.links();
    let interfaces = ports::interfaces(&state.loaded.model.node, &links);
    let mut vips = Vec::new();
    let model = &state.loaded.model;
    let snat = model.snat_addresses();
    for network in model.vips().into_iter().filter(|vip| vip.single().is_none()) {
        let (address, prefix_bits) = (network.address(), Some(network.bits()));
        vips.push(VipInfo { address, prefix_bits, ..VipInfo::nowhere(address) });
    }
    for address in model.node_addresses() {
        let found = interfaces.iter().find_map(|link| {
            let found = of(&addresses, link).iter().find(|found| found.address == address)?;
            Some((link.name.clone(), found.ours))
        });
        let owned = found.as_ref().is_some_and(|(_, ours)| *ours);
        let interface = found.map(|(name, _)| name);
        vips.push(VipInfo { sends: snat.contains(&address), interface, owned, ..VipInfo::nowhere(address) });
    }
    vips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn model(services: &str) -> Model {
        let text = format!(
            "[node]\ninterfaces = [\"eth0\"]\ntunnel_sources = [\"10.7.0.0/24\"]\n[pools.web]\nmode = \"dsr-ipip\"\n\
             backends = [{{ name = \"a\", address = \"192.0.2.130\" }}]\n{services}"
        );
        config::parse(&text, Path::new("test.toml")).unwrap().model
    }

    fn service(vip: &str, ports: &str) -> String {
        format!("[services.s]\nvips = [\"{vip}\"]\nports = {ports}\nprotocol = \"tcp\"\npool = \"web\"\n")
    }

    fn present(text: &str, prefix_length: u8, ours: bool) -> Address {
        Address { address: text.parse().unwrap(), prefix_length, ours, tentative: false }
    }

    #[test]
    fn networks_end_here_and_addresses_do_not() {
        let end_here = |vip: &str| {
            let networks = networks_that_end_here(&model(&service(vip, "[80]")));
            networks.iter().map(|(address, bits)| format!("{address}/{bits}")).collect::<Vec<_>>()
        };
        assert_eq!(end_here("192.0.2.0/28"), ["10.7.0.0/24", "192.0.2.0/28"]);
        assert_eq!(end_here("192.0.2.1"), ["10.7.0.0/24"], "a single one is on an interface");
    }

    #[test]
    fn a_service_that_takes_the_nodes_own_answers_is_told() {
        let said = |vip: &str, ports: &str| {
            let addresses = [
                present("192.0.2.5", 24, false),
                present("192.0.2.6", 32, false),
                present("192.0.2.7", 24, true),
            ];
            what_the_node_loses(&model(&service(vip, ports)), addresses.iter()).join("\n")
        };
        assert!(said("192.0.2.5", "\"any\"").contains("ports of 192.0.2.5"));
        assert!(said("192.0.2.0/28", "[\"30000-40000\"]").contains("ports of 192.0.2.5"));
        assert_eq!(said("192.0.2.5", "[80]"), "", "a port that the kernel does not choose");
        assert_eq!(said("192.0.2.6", "\"any\""), "", "somebody's VIP");
        assert_eq!(said("192.0.2.7", "\"any\""), "", "the agent's VIP");
    }
}
