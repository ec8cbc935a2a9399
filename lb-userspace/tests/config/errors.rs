//! One case per kind of problem: its place, message and hint.
//!
//! In the text of a case `«` marks where the problem must be reported; the mark is taken out before parsing.

use super::{base_with, parse};

/// Replaces `part` of the base and expects exactly the marked problem.
#[track_caller]
pub(super) fn refuses(part: &str, replacement: &str, message: &str, hint: &str) {
    refuses_all(part, replacement, &[(message, hint)]);
}

/// The same for several problems, in the order of their marks.
#[track_caller]
fn refuses_all(part: &str, replacement: &str, expected: &[(&str, &str)]) {
    refuses_text(&base_with(part, replacement), expected);
}

#[track_caller]
pub(super) fn refuses_text(marked: &str, expected: &[(&str, &str)]) {
    let (text, places) = unmark(marked);
    let errors = parse(&text).expect_err("the text must be refused");
    let found: Vec<_> =
        errors.entries().map(|entry| ((entry.line, entry.column), entry.message, entry.hint)).collect();
    let expected: Vec<_> = places
        .into_iter()
        .zip(expected)
        .map(|(place, (message, hint))| (place, (*message).to_owned(), (*hint).to_owned()))
        .collect();
    assert_eq!(found, expected, "\n{errors}");
}

/// Takes the marks out and tells where they were, as lines and columns from 1.
fn unmark(marked: &str) -> (String, Vec<(usize, usize)>) {
    let (mut text, mut places, mut line, mut column) = (String::new(), Vec::new(), 1, 1);
    for character in marked.chars() {
        match character {
            '«' => places.push((line, column)),
            other => {
                text.push(other);
                (line, column) = if other == '\n' { (line + 1, 1) } else { (line, column + 1) };
            }
        }
    }
    (text, places)
}

// --- TOML ---

#[test]
fn a_value_without_quotes() {
    refuses(
        "mode = \"nat\"",
        "mode = «nat",
        "string values must be quoted",
        "put the value in double quotes",
    );
}

#[test]
fn a_table_that_is_defined_twice() {
    refuses(
        "[pools.db]",
        "[pools.«web]",
        "duplicate key",
        "this name is used before; keep one of the two, or rename one",
    );
}

#[test]
fn an_array_that_is_not_closed() {
    let (text, places) = unmark("[node]\ninterfaces = [\"eth0\"«");
    let errors = parse(&text).unwrap_err();
    let first = errors.entries().next().unwrap();
    assert_eq!((first.line, first.column), places[0]);
    assert_eq!(first.hint, "close the array with `]`");
}

// --- Keys and types ---

#[test]
fn an_unknown_key_near_a_known_one() {
    refuses("vips = \"assign\"", "«vip = \"assign\"", "[node] has no key `vip`", "did you mean `vips`?");
    refuses("weight = 100", "«wieght = 100", "a backend has no key `wieght`", "did you mean `weight`?");
    refuses("[services.db]", "[«service.db]", "the file has no key `service`", "did you mean `services`?");
}

#[test]
fn an_unknown_key_far_from_all() {
    refuses(
        "weight = 100",
        "«location = \"rack 1\"",
        "a backend has no key `location`",
        "its keys are `name`, `address`, `weight`, `state`",
    );
}

#[test]
fn a_missing_key() {
    refuses(
        "[pools.web]\nmode = \"nat\"\n",
        "[pools.«web]\n",
        "pool `web` has no `mode`",
        "add mode = \"nat\", \"full-nat\", \"dsr-l2\", \"dsr-ipip\" or \"dsr-gue\"",
    );
    refuses(
        "{ name = \"web2\", address = \"10.0.0.12:80\" }",
        "«{ name = \"web2\" }",
        "a backend has no `address`",
        "add address = \"10.0.0.11:80\"",
    );
    refuses_text("«", &[("the file has no `node`", "add a table [node] with interfaces = [\"eth0\"]")]);
}

#[test]
fn a_value_of_another_type() {
    refuses(
        "mode = \"nat\"",
        "mode = «1",
        "`mode`: expected a string, found an integer",
        "put it in double quotes: \"1\"",
    );
    refuses(
        "weight = 100",
        "weight = «\"100\"",
        "`weight`: expected an integer, found a string",
        "write it without quotes: 100",
    );
    refuses(
        "weight = 100",
        "weight = «1.5",
        "`weight`: expected an integer, found a float",
        "write a number from 0 to 1000",
    );
    refuses(
        "ports = [80]",
        "ports = «80",
        "`ports`: expected an array, found an integer",
        "put it in brackets: [80]",
    );
    refuses(
        "vips = [\"203.0.113.10\"]",
        "vips = «\"203.0.113.10\"",
        "`vips`: expected an array, found a string",
        "put it in brackets: [\"203.0.113.10\"]",
    );
    refuses(
        "interval = \"1s\"",
        "interval = «1",
        "`interval`: expected a duration, found an integer",
        "write a number with a unit, such as \"500ms\" or \"2s\"",
    );
    refuses(
        "{ name = \"web2\", address = \"10.0.0.12:80\" }",
        "«\"10.0.0.12:80\"",
        "`backends`: expected a table, found a value of type string",
        "write { name = \"web1\", address = \"10.0.0.11:80\" }",
    );
    refuses(
        "[services.db]",
        "«[[services.db]]",
        "`db`: expected a table, found an array",
        "write its header in single brackets: [name]",
    );
}

// --- Values ---

#[test]
fn a_number_out_of_range() {
    let range = "the range is 0 to 1000";
    refuses("weight = 100", "weight = «1001", "`weight`: `1001` is out of range", range);
    refuses("weight = 100", "weight = «-1", "`weight`: `-1` is out of range", range);
    let huge = "99999999999999999999999999";
    refuses(
        "weight = 100",
        &format!("weight = «{huge}"),
        &format!("`weight`: `{huge}` is out of range"),
        range,
    );
    refuses("weight = 100", "weight = «0xffff", "`weight`: `0xffff` is out of range", range);
    refuses("ports = [80]", "ports = [«0]", "`ports`: `0` is out of range", "the range is 1 to 65535");
    refuses(
        "[node]",
        "[node]\nlimits = { services = «0 }",
        "`services`: `0` is out of range",
        "the range is 1 to 65536",
    );
}

#[test]
fn a_duration_out_of_range_or_unreadable() {
    refuses(
        "interval = \"1s\"",
        "interval = «\"2h\"",
        "`interval`: `2h` is out of range",
        "the range is 10ms to 1h",
    );
    refuses(
        "interval = \"1s\"",
        "interval = «\"1 fortnight\"",
        "`interval`: `1 fortnight` is not a duration: unknown time unit \"fortnight\", supported units: \
         ns, us/µs, ms, sec, min, hours, days, weeks, months, years (and few variations)",
        "write a number with a unit, such as \"500ms\" or \"2s\"",
    );
}

#[test]
fn a_timeout_longer_than_the_interval() {
    refuses(
        "timeout = \"500ms\"",
        "timeout = «\"2s\"",
        "`timeout` (2s) is longer than the interval",
        "use at most the interval, 1s, or raise `interval`",
    );
}

#[test]
fn a_word_that_is_no_choice() {
    refuses(
        "mode = \"nat\"",
        "mode = «\"NAT\"",
        "`mode`: `NAT` is not a choice",
        "did you mean \"nat\"? The choices are \"nat\", \"full-nat\", \"dsr-l2\", \"dsr-ipip\", \"dsr-gue\"",
    );
    refuses(
        "kind = \"tcp\"",
        "kind = «\"icmp\"",
        "`kind`: `icmp` is not a choice",
        "the choices are \"tcp\", \"http\", \"https\", \"udp\", \"dns\", \"grpc\", \"mysql\", \"exec\", \"agent\"",
    );
}

#[test]
fn an_affinity_or_a_state_that_there_is_not() {
    refuses(
        "slots = 65537",
        "affinity = «\"source_vip\"",
        "`affinity`: `source_vip` is not a choice",
        "did you mean \"source-vip\"? The choices are \"flow\", \"source\", \"source-vip\"",
    );
    refuses(
        "weight = 100",
        "state = «\"maintenence\"",
        "`state`: `maintenence` is not a choice",
        "did you mean \"maintenance\"? The choices are \"active\", \"drain\", \"maintenance\"",
    );
}

#[test]
fn the_times_of_a_pool_out_of_their_ranges() {
    for (key, written, range) in [
        ("flow_timeout", "0s", "1s to 1day"),
        ("flow_timeout", "999ms", "1s to 1day"),
        ("flow_timeout", "25h", "1s to 1day"),
        ("slow_start", "61m", "0s to 1h"),
        ("dead_after", "2days", "0s to 1day"),
    ] {
        refuses(
            "slots = 65537",
            &format!("{key} = «\"{written}\""),
            &format!("`{key}`: `{written}` is out of range"),
            &format!("the range is {range}"),
        );
    }
    refuses(
        "slots = 65537",
        "flow_timeout = «350",
        "`flow_timeout`: expected a duration, found an integer",
        "write a number with a unit, such as \"500ms\" or \"2s\"",
    );
    refuses(
        "slots = 65537",
        "«slowstart = \"30s\"",
        "pool `web` has no key `slowstart`",
        "did you mean `slow_start`?",
    );
}

#[test]
fn limits_out_of_their_range() {
    for flows in ["16383", "16777217"] {
        refuses(
            "vips = \"assign\"",
            &format!("limits = {{ flows = «{flows} }}"),
            &format!("`flows`: `{flows}` is out of range"),
            "the range is 16384 to 16777216",
        );
    }
}

#[test]
fn slots_that_are_not_prime() {
    refuses(
        "slots = 65537",
        "slots = «65536",
        "`slots`: 65536 is not a prime number",
        "the nearest primes are 65521 and 65537",
    );
}

#[test]
fn a_status_that_is_none() {
    let status = |written: &str| format!("path = \"/health\"\nexpect_status = [200, {written}]");
    let hint = "write 200 or \"200-399\", within 100 to 599";
    let part = "path = \"/health\"";
    refuses(part, &status("«\"399-200\""), "`expect_status`: `399-200` is not a status or a range", hint);
    refuses(part, &status("«\"2xx\""), "`expect_status`: `2xx` is not a status or a range", hint);
    refuses(part, &status("«600"), "`expect_status`: `600` is out of range", "the range is 100 to 599");
    refuses(
        part,
        "path = \"/health\"\nexpect_status = «[]",
        "`expect_status` has 0 entries",
        "write 1 to 64, such as expect_status = [200, \"300-399\"]",
    );
}

#[test]
fn an_http_check_that_cannot_be_sent() {
    refuses(
        "path = \"/health\"",
        "path = «\"health\"",
        "`path`: `health` does not begin with `/`",
        "begin it with a slash: \"/health\"",
    );
    refuses(
        "path = \"/health\"",
        "path = «\"/a b\"",
        "`path`: `/a b` cannot be sent",
        "use at most 2048 visible ASCII characters; write others as %XX",
    );
    refuses(
        "path = \"/health\"",
        "host = «\"http://www.example.net\"",
        "`host`: `http://www.example.net` cannot be sent",
        "write a host name such as \"www.example.net\", without a scheme or a path",
    );
    refuses(
        "kind = \"tcp\"",
        "kind = \"tcp\"\n«path = \"/\"",
        "`path` has no meaning in a check of kind \"tcp\"",
        "remove it, or write kind = \"http\" or kind = \"https\"",
    );
}

#[test]
fn an_address_that_no_server_has() {
    let address = |written: &str| format!("{{ name = \"web2\", address = «\"{written}\" }}");
    let part = "{ name = \"web2\", address = \"10.0.0.12:80\" }";
    let reachable = "write an address that hosts on the network reach";
    refuses(part, &address("0.0.0.0:80"), "`address`: `0.0.0.0:80` is the unspecified address", reachable);
    refuses(part, &address("127.0.0.1:80"), "`address`: `127.0.0.1:80` is a loopback address", reachable);
    refuses(part, &address("224.0.0.1:80"), "`address`: `224.0.0.1:80` is a multicast address", reachable);
    refuses(
        part,
        &address("web2.example.net:80"),
        "`address`: `web2.example.net:80` is not an IP address",
        "names are not looked up; write the server's IP address",
    );
    refuses(
        part,
        &address("10.0.0.12:99999"),
        "`address`: `10.0.0.12:99999` is not an address",
        "write \"10.0.0.11:80\", \"10.0.0.11\", \"[2001:db8::11]:80\" or \"2001:db8::11\"",
    );
}

#[test]
fn a_vip_that_is_no_address() {
    let part = "vips = [\"203.0.113.10\"]";
    refuses(
        part,
        "vips = [«\"203.0.113.10/28\"]",
        "`vips`: `203.0.113.10/28` has bits behind its prefix",
        "write \"203.0.113.0/28\", or the address alone",
    );
    refuses(
        part,
        "vips = [«\"::1\"]",
        "`vips`: `::1` is a loopback address",
        "write an address that hosts on the network reach",
    );
    refuses(part, "vips = «[]", "`vips` is empty", "write at least one VIP");
    refuses("ports = [80]", "ports = «[]", "`ports` is empty", "write at least one port");
    refuses("ports = [80]", "ports = [80, «80]", "port 80 is listed twice", "leave one of them out");
}

#[test]
fn an_interface_that_cannot_be() {
    let part = "interfaces = [\"eth0\"]";
    refuses(
        part,
        "interfaces = «[]",
        "`interfaces` is empty",
        "name at least one, such as interfaces = [\"eth0\"]; `ip link` lists them",
    );
    refuses(
        part,
        "interfaces = [\"eth0\", «\"a-name-too-long-for-linux\"]",
        "`interfaces`: `a-name-too-long-for-linux` cannot be the name of an interface",
        "use 1 to 15 bytes without spaces, `/` and `:`; `ip link` lists the interfaces",
    );
    refuses(
        part,
        "interfaces = [\"eth0\", «\"eth0\"]",
        "interface `eth0` is listed twice",
        "leave one of them out",
    );
}

#[test]
fn node_paths_and_tunnel_sources() {
    refuses(
        "vips = \"assign\"",
        "control_socket = «\"lbd.sock\"",
        "`control_socket`: `lbd.sock` is not an absolute path",
        "write a path such as \"/run/lb/lbd.sock\"",
    );
    refuses(
        "vips = \"assign\"",
        &format!("control_socket = «\"/{}\"", "x".repeat(107)),
        "`control_socket`: the path is too long",
        "use at most 107 bytes",
    );
    refuses(
        "vips = \"assign\"",
        "tunnel_sources = [\"10.0.0.1\", \"2001:db8::1\", «\"10.0.0.2\"]",
        "`tunnel_sources` has a second IPv4 address",
        "keep one address or network per family",
    );
}

#[test]
fn a_name_that_cannot_be_used() {
    let hint = "use 1 to 63 of the letters a-z and A-Z, digits, `-`, `_` and `.`";
    refuses("name = \"web2\"", "name = «\"web 2\"", "`web 2` cannot be the name of a backend", hint);
    refuses("[services.db]", "[services.«\"\"]", "`` cannot be the name of a service", hint);
}

// --- Relations ---

#[test]
fn a_name_that_does_not_exist() {
    refuses(
        "check = \"web\"",
        "check = «\"wbe\"",
        "pool `web` names the check `wbe`, which does not exist",
        "did you mean `web`?",
    );
    refuses(
        "pool = \"db\"",
        "pool = «\"cache\"",
        "service `db` names the pool `cache`, which does not exist",
        "known: `db`, `web`",
    );
}

#[test]
fn two_services_on_one_frontend() {
    refuses(
        "vips = [\"203.0.113.20\"]\nports = [3306]",
        "vips = [«\"203.0.113.10\"]\nports = [80]",
        "203.0.113.10:80/tcp is served by service `web` already",
        "give one of the services another VIP, port or protocol",
    );
    let text =
        base_with("vips = [\"203.0.113.20\"]\nports = [3306]", "vips = [\"203.0.113.10\"]\nports = [80]");
    let errors = parse(&text).unwrap_err();
    assert!(errors.to_string().contains("lb.toml:39:9:"), "{errors}");
    assert!(errors.to_string().contains("; first use: line 33 ("), "{errors}");
}

#[test]
fn the_same_vip_and_port_with_another_protocol_is_another_frontend() {
    let text = base_with(
        "vips = [\"203.0.113.20\"]\nports = [3306]\nprotocol = \"tcp\"",
        "vips = [\"203.0.113.10\"]\nports = [80]\nprotocol = \"udp\"",
    );
    parse(&text).unwrap();
}

#[test]
fn two_backends_that_are_one() {
    let part = "{ name = \"web2\", address = \"10.0.0.12:80\" }";
    refuses(
        part,
        "{ name = «\"web1\", address = \"10.0.0.12:80\" }",
        "pool `web` has two backends named `web1`",
        "rename one of them",
    );
    refuses_all(
        "{ name = \"db2\", address = \"10.0.1.12\" }",
        "{ name = \"db2\", address = «\"10.0.1.11:3306\" }",
        &[(
            "pool `db` has two backends with the address 10.0.1.11",
            "remove one of them; use `weight` for a larger share",
        )],
    );
}

#[test]
fn one_host_may_serve_twice_on_two_ports_in_nat() {
    parse(&base_with("10.0.0.12:80", "10.0.0.11:81")).unwrap();
}

#[test]
fn a_backend_with_and_without_the_service_port_is_the_same_server() {
    refuses(
        "{ name = \"web2\", address = \"10.0.0.12:80\" }",
        "«{ name = \"web2\", address = \"10.0.0.11\" }",
        "backend `web1` and backend `web2` both serve 203.0.113.10:80/tcp at 10.0.0.11:80",
        "remove one of them, or give it another port",
    );
}

#[test]
fn a_backend_that_has_a_vip() {
    refuses(
        "address = \"10.0.1.12\"",
        "address = «\"203.0.113.10\"",
        "backend `db2` has the address 203.0.113.10, which is a VIP of service `web`",
        "write the server's own address; the VIP belongs to the load balancer",
    );
}

#[test]
fn families_that_differ() {
    for mode in ["nat", "dsr-l2"] {
        let text = base_with("vips = [\"203.0.113.20\"]", "vips = [«\"2001:db8::20\"]")
            .replace("mode = \"dsr-l2\"", &format!("mode = \"{mode}\""));
        refuses_text(
            &text,
            &[(
                "service `db` has the IPv6 VIP 2001:db8::20, but all backends of pool `db` have IPv4 addresses",
                "add IPv6 backends to the pool, or use mode = \"dsr-ipip\" or \"dsr-gue\"",
            )],
        );
    }
}

#[test]
fn a_dsr_backend_with_another_port() {
    refuses(
        "address = \"10.0.1.12\"",
        "address = «\"10.0.1.12:3307\"",
        "backend `db2` has port 3307, but service `db` listens on port 3306, and dsr-l2 cannot change ports",
        "leave the port out of the backend's address, or use mode = \"nat\"",
    );
}

const ANOTHER_PORT: &str =
    "give one of them a pool whose backends have another port, or use mode = \"dsr-l2\" or \"dsr-ipip\"";

#[test]
fn nat_with_two_services_on_one_pool() {
    let part = "vips = [\"203.0.113.20\"]\nports = [3306]\nprotocol = \"tcp\"\npool = \"db\"";
    refuses(
        part,
        "vips = [«\"203.0.113.20\"]\nports = [80]\nprotocol = \"tcp\"\npool = \"web\"",
        "nat cannot tell replies to 203.0.113.20:80/tcp from replies to 203.0.113.10:80/tcp: backend `web1` \
         answers both from 10.0.0.11:80",
        ANOTHER_PORT,
    );
    let text = base_with(part, "vips = [\"203.0.113.20\"]\nports = [80]\nprotocol = \"tcp\"\npool = \"web\"");
    let shown = parse(&text).unwrap_err().to_string();
    assert!(shown.starts_with("lb.toml:39:9: ") && shown.contains("; the first: line 33 ("), "{shown}");
}

#[test]
fn nat_with_two_vips_in_one_service() {
    refuses(
        "vips = [\"203.0.113.10\"]",
        "vips = [\"203.0.113.10\", «\"203.0.113.11\"]",
        "nat cannot tell replies to 203.0.113.11:80/tcp from replies to 203.0.113.10:80/tcp: backend `web1` \
         answers both from 10.0.0.11:80",
        ANOTHER_PORT,
    );
}

#[test]
fn nat_with_two_ports_and_one_backend_port() {
    refuses(
        "ports = [80]",
        "ports = [80, «443]",
        "nat cannot tell replies to 203.0.113.10:443/tcp from replies to 203.0.113.10:80/tcp: backend \
         `web1` answers both from 10.0.0.11:80",
        "leave the port out of the backend's address, so that each port keeps its own, or use another \
         backend port or a DSR mode",
    );
}

#[test]
fn nat_with_one_server_in_two_pools() {
    let text = base_with("mode = \"dsr-l2\"", "mode = \"nat\"").replace("10.0.1.12", "10.0.0.12:80");
    refuses_text(
        &text.replace("vips = [\"203.0.113.20", "vips = [«\"203.0.113.20"),
        &[(
            "nat cannot tell replies to 203.0.113.20:3306/tcp from replies to 203.0.113.10:80/tcp: backend \
             `db2` answers both from 10.0.0.12:80",
            "leave the port out of the backend's address, so that each port keeps its own, or use another \
             backend port or a DSR mode",
        )],
    );
}

#[test]
fn nat_that_is_not_ambiguous() {
    // Ports that backends keep, another protocol, and the modes in which replies do not come back.
    let kept = base_with("10.0.0.11:80", "10.0.0.11").replace("10.0.0.12:80", "10.0.0.12");
    parse(&kept.replace("ports = [80]", "ports = [80, 443]")).unwrap();
    parse(&base_with(
        "ports = [3306]\nprotocol = \"tcp\"\npool = \"db\"",
        "ports = [80]\nprotocol = \"udp\"\npool = \"web\"",
    ))
    .unwrap();
    for mode in ["dsr-l2", "dsr-ipip"] {
        let text = base_with("mode = \"nat\"", &format!("mode = \"{mode}\""));
        parse(&text.replace("vips = [\"203.0.113.10\"]", "vips = [\"203.0.113.10\", \"203.0.113.11\"]"))
            .unwrap();
    }
}

#[test]
fn more_frontends_than_the_limit() {
    let text = base_with("[node]", "[node]\nlimits = { services = 1 }");
    refuses_text(
        &text.replace("vips = [\"203.0.113.20", "vips = [«\"203.0.113.20"),
        &[(
            "the services have 2 frontends, but node.limits.services is 1",
            "raise node.limits.services to at least 2",
        )],
    );
    let ports = (1..=40_000).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    let vips = "vips = [\"203.0.113.20\", \"203.0.113.21\"]";
    let text = base_with("vips = [\"203.0.113.20\"]\nports = [3306]", &format!("{vips}\nports = [{ports}]"));
    refuses_text(
        &text.replace(vips, &vips.replacen('"', "«\"", 1)),
        &[(
            "the services have 80001 frontends, but node.limits.services is 4096",
            "node.limits.services cannot be more than 65536; the configuration must become smaller",
        )],
    );
}

#[test]
fn more_backends_than_the_limit() {
    let text = base_with("[node]", "[node]\nlimits = { backends = 3 }");
    refuses_text(
        &text.replace("{ name = \"db2\"", "«{ name = \"db2\""),
        &[(
            "the pools have 4 backends, but node.limits.backends is 3",
            "raise node.limits.backends to at least 4",
        )],
    );
}

#[test]
fn more_slots_than_the_limit() {
    let text = base_with("[node]", "[node]\nlimits = { slots = 131072 }");
    refuses_text(
        &text.replace("slots = 65537", "slots = «65537"),
        &[(
            "the pools need 147455 slots (the largest one twice), but node.limits.slots is 131072",
            "raise node.limits.slots to at least 147455",
        )],
    );
}

#[test]
fn more_reverse_entries_than_can_be() {
    let ports = (1..=4_000).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    let backends: Vec<String> = (0..300)
        .map(|n| format!("{{ name = \"b{n}\", address = \"10.9.{}.{}\" }}", n / 250, n % 250 + 1))
        .collect();
    let text = base_with("ports = [80]", &format!("ports = [{ports}]")).replace(
        "{ name = \"web1\", address = \"10.0.0.11:80\", weight = 100 },\n    { name = \"web2\", address = \"10.0.0.12:80\" },",
        &backends.join(","),
    );
    refuses_text(
        &text.replace("[services.web]", "[services.«web]"),
        &[(
            "service `web` brings the nat pools to 1200000 pairs of a frontend and a backend; there is \
             room for 32768, 2 for each of node.limits.backends",
            "raise node.limits.backends, list fewer ports, or use mode = \"full-nat\" or a DSR mode for the pool",
        )],
    );
}
