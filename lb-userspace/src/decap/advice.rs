//! What the operator still has to do, so that the stack takes the inner packets and answers for the VIPs.
//!
//! Always holds: nothing is changed here; every sentence names the command that mends what it is about.

use super::Prefix;
use crate::netlink::{Link, Medium, Netlink, NetlinkError, NextHopError};
use std::net::{IpAddr, Ipv4Addr};

/// Stands for clients in the question which way leads to them (RFC 5737: nobody has it, the default route leads there).
const SOME_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Value of `rp_filter` with which a packet has to come in by the interface that leads back to its sender.
const STRICT: u8 = 1;
/// Smallest value of `arp_ignore` with which an interface answers for its own addresses only.
const OWN_ADDRESSES_ONLY: u8 = 1;
/// Value of `arp_announce` with which ARP requests never come from an address of another interface.
const BEST_ADDRESS: u8 = 2;

/// What is known of the machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// VIPs, each with the interface that has it; none where no interface does.
    pub vips: Vec<(Prefix, VipPlace)>,
    /// The interfaces that inner packets show up on.
    pub interfaces: Vec<Settings>,
    /// Whether answers to clients leave by one of them.
    pub answers_leave_here: bool,
}

/// Where a VIP is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VipPlace {
    /// Nowhere.
    Missing,
    /// On interfaces alone that answer nobody (loopback, dummy), or local by a route.
    Hidden,
    /// On these interfaces, which answer their neighbours.
    Shown(Vec<String>),
}

/// IPv4 settings of an interface, each the larger of its own and that of all interfaces, which is what counts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interface.
    pub name: String,
    /// `rp_filter`.
    pub rp_filter: u8,
    /// `arp_ignore`.
    pub arp_ignore: u8,
    /// `arp_announce`.
    pub arp_announce: u8,
}

/// Looks at the machine.
///
/// # Errors
/// When the kernel cannot be asked.
pub async fn look(
    netlink: &Netlink,
    links: &[Link],
    interfaces: &[&Link],
    vips: &[Prefix],
) -> Result<Machine, NetlinkError> {
    let mut addresses = Vec::new();
    for link in links {
        for found in netlink.addresses(link.index).await? {
            addresses.push((link, found.address));
        }
    }
    let mut machine = Machine::default();
    for vip in vips {
        let having = addresses.iter().filter(|(_, address)| vip.covers(*address)).map(|(link, _)| *link);
        let place = match place(having) {
            VipPlace::Missing if is_local(netlink, vip.sample()).await? => VipPlace::Hidden,
            place => place,
        };
        machine.vips.push((*vip, place));
    }
    machine.interfaces = interfaces.iter().map(|link| settings(&link.name)).collect();
    machine.answers_leave_here = match netlink.next_hop(SOME_CLIENT.into()).await {
        Ok(hop) => interfaces.iter().any(|link| link.index == hop.ifindex),
        Err(NextHopError::Netlink(error)) => return Err(error),
        Err(_) => false,
    };
    Ok(machine)
}

/// Where a VIP is that these interfaces have.
fn place<'a>(having: impl Iterator<Item = &'a Link>) -> VipPlace {
    let (mut is_there, mut shown) = (false, Vec::new());
    for link in having {
        is_there = true;
        let answers = link.medium != Medium::Loopback && link.resolves_neighbours;
        if answers && !shown.contains(&link.name) {
            shown.push(link.name.clone());
        }
    }
    match (is_there, shown.is_empty()) {
        (false, _) => VipPlace::Missing,
        (true, true) => VipPlace::Hidden,
        (true, false) => VipPlace::Shown(shown),
    }
}

async fn is_local(netlink: &Netlink, address: IpAddr) -> Result<bool, NetlinkError> {
    match netlink.next_hop(address).await {
        Err(NextHopError::Local { .. }) => Ok(true),
        Err(NextHopError::Netlink(error)) => Err(error),
        Ok(_) | Err(_) => Ok(false),
    }
}

fn settings(name: &str) -> Settings {
    let value = |setting| read("all", setting).max(read(name, setting));
    Settings {
        name: name.to_owned(),
        rp_filter: value("rp_filter"),
        arp_ignore: value("arp_ignore"),
        arp_announce: value("arp_announce"),
    }
}

/// A setting; 0, the kernel's default, where it cannot be read.
fn read(interface: &str, setting: &str) -> u8 {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{interface}/{setting}"));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// What has to be done, a sentence each; nothing if all is well.
pub fn sentences(machine: &Machine) -> Vec<String> {
    let missing = machine.vips.iter().filter(|(_, place)| *place == VipPlace::Missing).map(|(vip, _)| {
        format!(
            "the VIP {vip} is on no interface, so its packets are not taken: ip address add {}/{} dev lo",
            vip.address(),
            vip.length()
        )
    });
    let shown = machine.vips.iter().filter_map(|(vip, place)| match place {
        VipPlace::Shown(interfaces) => {
            let names = interfaces.join(" and ");
            Some(format!(
                "the VIP {vip} is on {names}, where it is answered for in the segment: unless no load balancer is there, \
                 move it: ip address add {}/{} dev lo, and take it off {names}",
                vip.address(),
                vip.length()
            ))
        }
        VipPlace::Missing | VipPlace::Hidden => None,
    });
    let mut sentences: Vec<String> = missing.chain(shown).collect();
    if machine.vips.iter().any(|(vip, _)| vip.address().is_ipv4()) {
        for interface in &machine.interfaces {
            sentences.extend(of_interface(interface, machine.answers_leave_here));
        }
    }
    sentences
}

fn of_interface(settings: &Settings, answers_leave_here: bool) -> Vec<String> {
    let name = &settings.name;
    let command = |setting: &str, value: u8| {
        // A name with dots can be written with slashes only.
        format!("sysctl -w net/ipv4/conf/{name}/{setting}={value}")
    };
    let mut sentences = Vec::new();
    if settings.arp_ignore < OWN_ADDRESSES_ONLY {
        sentences.push(format!(
            "{name} answers ARP for the VIPs on lo, which takes them from a load balancer in the same segment: {}",
            command("arp_ignore", OWN_ADDRESSES_ONLY)
        ));
    }
    if settings.arp_announce < BEST_ADDRESS {
        sentences.push(format!(
            "{name} may ask by ARP in the name of a VIP, and routers then send to it instead of the load balancer: {}",
            command("arp_announce", BEST_ADDRESS)
        ));
    }
    if settings.rp_filter == STRICT && !answers_leave_here {
        sentences.push(format!(
            "{name} drops packets from senders that it does not lead back to (rp_filter), as clients are here: {}; the \
             setting of all interfaces counts if it is larger: sysctl -w net/ipv4/conf/all/rp_filter=0",
            command("rp_filter", 0)
        ));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            vips: vec![("203.0.113.10".parse().unwrap(), VipPlace::Hidden)],
            interfaces: vec![Settings {
                name: "eth0".to_owned(),
                rp_filter: 0,
                arp_ignore: 1,
                arp_announce: 2,
            }],
            answers_leave_here: true,
        }
    }

    #[test]
    fn a_machine_that_is_set_up_needs_nothing() {
        assert_eq!(sentences(&machine()), [""; 0]);
        let mut strict = machine();
        strict.interfaces[0].rp_filter = STRICT;
        assert_eq!(sentences(&strict), [""; 0], "strict is fine where answers leave by the same interface");
    }

    #[test]
    fn what_breaks_direct_return_is_told_with_its_command() {
        let only = |machine: &Machine, command: &str| {
            let told = sentences(machine);
            assert!(told.len() == 1 && told[0].contains(command), "{told:?}");
        };
        let mut missing = machine();
        missing.vips[0].1 = VipPlace::Missing;
        only(&missing, "ip address add 203.0.113.10/32 dev lo");
        let mut shown = machine();
        shown.vips[0].1 = VipPlace::Shown(vec!["eth0".to_owned()]);
        only(&shown, "take it off eth0");
        let mut ignore = machine();
        ignore.interfaces[0].arp_ignore = 0;
        only(&ignore, "sysctl -w net/ipv4/conf/eth0/arp_ignore=1");
        let mut announce = machine();
        announce.interfaces[0].arp_announce = 1;
        only(&announce, "sysctl -w net/ipv4/conf/eth0/arp_announce=2");
        let mut strict = machine();
        (strict.interfaces[0].rp_filter, strict.answers_leave_here) = (STRICT, false);
        only(&strict, "sysctl -w net/ipv4/conf/eth0/rp_filter=0");
    }

    #[test]
    fn a_vip_is_shown_by_interfaces_that_answer_wherever_else_it_is() {
        let card = Link::ethernet(2, "eth0");
        let lo = Link { medium: Medium::Loopback, ..Link::ethernet(1, "lo") };
        let dummy = Link { resolves_neighbours: false, ..Link::ethernet(3, "dummy0") };
        let other = Link::ethernet(4, "eth1");
        let shown = |names: &[&str]| VipPlace::Shown(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(place([].into_iter()), VipPlace::Missing);
        assert_eq!(place([&lo].into_iter()), VipPlace::Hidden);
        assert_eq!(place([&dummy, &lo].into_iter()), VipPlace::Hidden);
        assert_eq!(place([&lo, &card].into_iter()), shown(&["eth0"]));
        assert_eq!(place([&card, &dummy, &other, &card].into_iter()), shown(&["eth0", "eth1"]));
    }

    #[test]
    fn settings_of_ipv4_do_not_matter_to_ipv6_vips() {
        let mut machine = machine();
        machine.vips[0].0 = "2001:db8::10".parse().unwrap();
        machine.interfaces[0].arp_ignore = 0;
        assert_eq!(sentences(&machine), [""; 0]);
    }
}
