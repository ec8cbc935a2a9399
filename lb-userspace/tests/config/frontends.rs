//! Services of many ports, addresses and families, and the modes that need more than backends: what is understood, what is
//! refused.

use lb_userspace::model::{ForwardMode, Model, Ports, Prefix};

use super::errors::{refuses, refuses_text};
use super::{BASE, base_with, parse};

fn model(text: &str) -> Model {
    parse(text).unwrap_or_else(|errors| panic!("{errors}")).model
}

/// The base without ports of backends, which ranges in `nat` need.
fn portless() -> String {
    BASE.replace("10.0.0.11:80", "10.0.0.11").replace("10.0.0.12:80", "10.0.0.12")
}

// --- Ports ---

#[test]
fn ports_are_numbers_texts_ranges_or_any() {
    let ports = |written: &str| {
        model(&portless().replace("ports = [80]", &format!("ports = {written}"))).services["web"]
            .ports
            .clone()
    };
    assert_eq!(
        ports("[\"80\", 443, \"30000-32767\", \"1-7\"]"),
        [Ports::One(80), Ports::One(443), Ports::Range(30_000, 32_767), Ports::Range(1, 7)]
    );
    assert_eq!(ports("[\"80-80\"]"), [Ports::One(80)]);
    assert_eq!(ports("[80, \"80-90\"]"), [Ports::One(80), Ports::Range(80, 90)]);
    assert_eq!(
        model(
            &portless().replace("path = \"/health\"", "port = 80").replace("ports = [80]", "ports = \"any\"")
        )
        .services["web"]
            .ports,
        [Ports::Any]
    );
}

#[test]
fn texts_that_are_no_ports() {
    let hint = "write 443, \"443\" or \"30000-32767\", within 1 to 65535";
    for text in ["https", "0-5", "7-3", "1-65536", "-", "80-", ""] {
        refuses(
            "ports = [3306]",
            &format!("ports = [3306, «\"{text}\"]"),
            &format!("`ports`: `{text}` is not a port or a range"),
            hint,
        );
    }
    refuses(
        "ports = [3306]",
        "ports = [3306, «\"any\"]",
        "`ports`: `any` is not a port or a range",
        "write ports = \"any\", without brackets",
    );
    refuses(
        "ports = [3306]",
        "ports = «\"3306\"",
        "`ports`: expected an array, found a string",
        "put it in brackets: [\"3306\"]",
    );
}

#[test]
fn ranges_of_one_service_that_overlap() {
    refuses(
        "ports = [3306]",
        "ports = [3306, \"4000-4010\", «\"3990-4000\"]",
        "the ports 4000-4010 and 3990-4000 overlap",
        "make one range of them",
    );
}

#[test]
fn ranges_of_two_services_that_overlap() {
    let text = BASE.replace("ports = [3306]", "ports = [3306, \"4000-4010\"]").replace(
        "[services.db]",
        "[services.more]\nvips = [\"203.0.113.20\"]\nports = [\"1-4000\"]\nprotocol = \"tcp\"\npool = \"db\"\n\n[services.db]",
    );
    let shown = parse(&text).unwrap_err().to_string();
    assert_eq!(
        shown,
        "lb.toml:46:16: 203.0.113.20:4000-4010/tcp overlaps with 203.0.113.20:1-4000/tcp of service `more`; the first: \
         line 40 (let the ranges of one VIP and protocol end where others begin; single ports may lie within them)"
    );
    // Another protocol, and another address, are others.
    parse(&text.replacen("protocol = \"tcp\"\npool = \"db\"", "protocol = \"udp\"\npool = \"db\"", 1))
        .unwrap();
    parse(&text.replacen("203.0.113.20", "203.0.113.21", 1)).unwrap();
}

#[test]
fn one_range_and_any_port_belong_to_one_service_each() {
    for ports in ["[\"4000-4010\"]", "\"any\""] {
        let text = BASE
            .replace("kind = \"tcp\"", "kind = \"tcp\"\nport = 3306")
            .replace("ports = [3306]", &format!("ports = {ports}"))
            .replace(
                "[services.db]",
                &format!(
                    "[services.a]\nvips = [\"203.0.113.20\"]\nports = {ports}\nprotocol = \"tcp\"\npool = \"db\"\n\n[services.db]"
                ),
            );
        let shown = parse(&text).unwrap_err().to_string();
        assert!(shown.contains("/tcp is served by service `a` already; first use: line 40 ("), "{shown}");
    }
}

#[test]
fn a_check_that_does_not_know_its_port() {
    refuses_text(
        &base_with("ports = [3306]", "ports = [\"3306-3310\"]").replace("check = \"db\"", "check = «\"db\""),
        &[(
            "the check `db` does not know at which port to ask the backends of pool `db`: no service of it listens on a \
             single port",
            "write the port in the check (port = 80) or in the backends' addresses",
        )],
    );
}

// --- Networks ---

#[test]
fn a_vip_may_be_a_network() {
    let text = base_with("vips = [\"203.0.113.20\"]", "vips = [\"203.0.113.32/28\", \"203.0.113.20\"]");
    let vips = model(&text).services["db"].vips.clone();
    let network = Prefix::new("203.0.113.32".parse().unwrap(), 28).unwrap();
    assert_eq!(vips, [network, Prefix::new("203.0.113.20".parse().unwrap(), 32).unwrap()]);
}

#[test]
fn a_network_twice_with_one_port() {
    let text = base_with("vips = [\"203.0.113.20\"]", "vips = [\"203.0.113.32/28\"]").replace(
        "[services.db]",
        "[services.a]\nvips = [\"203.0.113.32/28\"]\nports = [3306]\nprotocol = \"tcp\"\npool = \"db\"\n\n[services.db]",
    );
    let shown = parse(&text).unwrap_err().to_string();
    assert!(
        shown.starts_with("lb.toml:45:9: 203.0.113.32/28:3306/tcp is served by service `a` already"),
        "{shown}"
    );
    // A smaller network within it is another one, and comes first.
    parse(&text.replacen("203.0.113.32/28", "203.0.113.32/29", 1)).unwrap();
}

#[test]
fn networks_in_nat() {
    refuses(
        "vips = [\"203.0.113.10\"]",
        "vips = [«\"203.0.113.0/28\"]",
        "service `web` has the network 203.0.113.0/28, and nat cannot tell to which of its addresses a reply belongs",
        "use mode = \"full-nat\" or a DSR mode, or list the addresses one by one, each with a pool of its own",
    );
}

#[test]
fn a_backend_within_a_network_of_vips() {
    refuses_text(
        &base_with("vips = [\"203.0.113.20\"]", "vips = [\"10.0.1.0/28\"]")
            .replace(
                "{ name = \"db2\", address = \"10.0.1.12\" }",
                "{ name = \"db2\", address = \"10.0.2.12\" }",
            )
            .replace("address = \"10.0.1.11\"", "address = «\"10.0.1.11\""),
        &[(
            "backend `db1` has the address 10.0.1.11, which is a VIP of service `db`",
            "write the server's own address; the VIP belongs to the load balancer",
        )],
    );
}

// --- Nat ---

#[test]
fn nat_with_a_range_and_a_port_of_the_backend() {
    refuses_text(
        &base_with("ports = [80]", "ports = [\"30000-30010\"]")
            .replace("path = \"/health\"", "port = 80")
            .replace("10.0.0.12:80", "10.0.0.12")
            .replace("address = \"10.0.0.11:80\"", "address = «\"10.0.0.11:80\""),
        &[(
            "nat cannot bring ports 30000-30010 of service `web` to port 80: replies would not tell which one a client \
             asked for",
            "leave the port out of the backend's address, or use mode = \"full-nat\"",
        )],
    );
}

#[test]
fn nat_with_ranges_that_one_server_answers() {
    let second = |ports: &str, vip: &str| {
        portless().replace("path = \"/health\"", "port = 80").replace("ports = [80]", "ports = [\"70-90\"]").replace(
            "[services.db]",
            &format!(
                "[services.more]\nvips = [\"{vip}\"]\nports = {ports}\nprotocol = \"tcp\"\npool = \"web\"\n\n[services.db]"
            ),
        )
    };
    for ports in ["[80]", "[\"90-95\"]", "\"any\""] {
        let shown = parse(&second(ports, "203.0.113.11")).unwrap_err().to_string();
        assert!(shown.contains("nat cannot tell replies to 203.0.113.11:"), "{ports}: {shown}");
        assert!(
            shown.contains(
                "from replies to 203.0.113.10:70-90/tcp: backend `web1` answers both from 10.0.0.11:"
            )
        );
        assert!(shown.contains("; the first: line 33 (let ranges share no port"), "{shown}");
    }
    // Of one VIP a single port comes before a range, and that before any, on both ways.
    for ports in ["[80]", "[\"91-95\"]", "\"any\""] {
        parse(&second(ports, "203.0.113.10")).unwrap_or_else(|errors| panic!("{ports}: {errors}"));
    }
    parse(&second("[\"91-95\"]", "203.0.113.11")).unwrap();
}

// --- Families ---

#[test]
fn both_families_in_one_service() {
    let both = |mode: &str| {
        base_with("vips = [\"203.0.113.20\"]", "vips = [\"203.0.113.20\", \"2001:db8::20\"]")
            .replace("\"10.0.1.12\"", "\"2001:db8:1::12\"")
            .replace("mode = \"dsr-l2\"", &format!("mode = \"{mode}\""))
    };
    for mode in ["nat", "dsr-l2", "dsr-ipip", "dsr-gue"] {
        parse(&both(mode)).unwrap_or_else(|errors| panic!("{mode}: {errors}"));
    }
    // Tunnels carry either family in either.
    for mode in ["dsr-ipip", "dsr-gue"] {
        parse(&both(mode).replace("\"203.0.113.20\", ", "").replace("2001:db8:1::12", "10.0.1.13")).unwrap();
    }
}

#[test]
fn a_pool_that_keeps_families_apart_has_two_tables() {
    let text = base_with("vips = [\"203.0.113.20\"]", "vips = [\"203.0.113.20\", \"2001:db8::20\"]")
        .replace("\"10.0.1.12\"", "\"2001:db8:1::12\"")
        .replace("[node]", "[node]\nlimits = { slots = 163835 }");
    let shown = parse(&text).unwrap_err().to_string();
    assert!(shown.contains("the pools need 163836 slots (the largest one twice)"), "{shown}");
}

// --- Tunnels ---

#[test]
fn gue_has_its_port() {
    let text = base_with("mode = \"dsr-l2\"", "mode = \"dsr-gue\"");
    assert_eq!(model(&text).pools["db"].gue_port, 6_080);
    let text = text.replace("\"dsr-gue\"", "\"dsr-gue\"\ngue_port = 5555");
    let pool = &model(&text).pools["db"];
    assert_eq!((pool.mode, pool.gue_port), (ForwardMode::DsrGue, 5_555));
    refuses(
        "mode = \"dsr-l2\"",
        "mode = \"dsr-l2\"\ngue_port = «5555",
        "`gue_port` has no meaning in a pool of mode \"dsr-l2\"",
        "remove it, or write mode = \"dsr-gue\"",
    );
    refuses_text(
        &base_with("mode = \"dsr-l2\"", "mode = \"dsr-gue\"")
            .replace("address = \"10.0.1.12\"", "address = «\"10.0.1.12:6080\""),
        &[(
            "backend `db2` has port 6080, but service `db` listens on port 3306, and dsr-gue cannot change ports",
            "leave the port out of the backend's address, or use mode = \"nat\"",
        )],
    );
}

// --- full-nat ---

/// The base with `db` in `full-nat`.
fn full_nat(snat: &str) -> String {
    base_with("mode = \"dsr-l2\"", &format!("mode = \"full-nat\"\nsnat = {snat}"))
}

#[test]
fn full_nat_sends_from_addresses_of_its_own() {
    let model = model(&full_nat("[\"10.0.0.5\", \"2001:db8::5\"]").replace("10.0.1.12", "10.0.1.12:3307"));
    assert_eq!(model.pools["db"].snat.len(), 2);
    assert_eq!(model.pools["db"].backends[1].port, Some(3_307));
    assert!(model.node_addresses().contains(&"10.0.0.5".parse().unwrap()));
}

#[test]
fn full_nat_without_or_with_wrong_addresses() {
    refuses(
        "mode = \"dsr-l2\"",
        "mode = «\"full-nat\"",
        "pool `db` of mode \"full-nat\" has no `snat`",
        "write snat = [\"10.0.0.5\"] with a spare address of each family, of the network towards the backends and not this \
         node's own: with vips = \"assign\" lbd adds it",
    );
    refuses_text(
        &full_nat("«[\"2001:db8::5\"]"),
        &[(
            "pool `db` has the IPv4 backend `db1`, but no IPv4 address to send from",
            "add a spare IPv4 address to `snat`, of the network towards the backends and not this node's \
             own: with vips = \"assign\" lbd adds it",
        )],
    );
    refuses_text(
        &full_nat("[\"10.0.0.5\", «\"10.0.0.5\"]"),
        &[("address 10.0.0.5 is listed twice", "leave one of them out")],
    );
    refuses_text(
        &full_nat("[«\"203.0.113.10\"]"),
        &[(
            "pool `db` would send from 203.0.113.10, which is a VIP of service `web`",
            "write a spare address, of the network towards the backends and not this node's own: with vips = \"assign\" \
             lbd adds it",
        )],
    );
    refuses_text(
        &full_nat("[\"10.0.0.11\"]").replace("address = \"10.0.0.11:80\"", "address = «\"10.0.0.11:80\""),
        &[(
            "backend `web1` of pool `web` has the address 10.0.0.11, which full-nat sends from",
            "write the server's own address; those in `snat` belong to this node",
        )],
    );
    refuses(
        "mode = \"dsr-l2\"",
        "mode = \"dsr-l2\"\nsnat = «[\"10.0.0.5\"]",
        "`snat` has no meaning in a pool of mode \"dsr-l2\"",
        "remove it, or write mode = \"full-nat\"",
    );
}

#[test]
fn two_pools_that_send_from_one_address() {
    let text =
        full_nat("[«\"10.0.0.5\"]").replace("mode = \"nat\"", "mode = \"full-nat\"\nsnat = [\"10.0.0.5\"]");
    refuses_text(
        &text,
        &[(
            "pool `web` sends from 10.0.0.5 already, which is in its `snat`",
            "give each pool addresses of its own",
        )],
    );
}
