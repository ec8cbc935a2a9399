//! What a valid configuration means: every key, every default, every way to write a thing; and the warnings.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lb_userspace::model::{
    AdminState, Affinity, Backend, Check, CheckKind, DatapathLog, ForwardMode, HttpCheck, HttpVersion,
    Limits, Model, Node, OnAllDown, OnRoleChange, Policy, Pool, Ports, Prefix, Protocol, Service, StatusSet,
    VipOwnership, XdpMode,
};

use super::{BASE, base_with, parse};

fn model(text: &str) -> Model {
    parse(text).unwrap_or_else(|errors| panic!("{errors}")).model
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn backend(name: &str, address: &str, port: Option<u16>) -> Backend {
    Backend {
        name: name.to_owned(),
        address: ip(address),
        port,
        weight: 100,
        state: AdminState::Active,
        standby_of: None,
    }
}

const EVERY_KEY: &str = r#"
[node]
interfaces = ["eth0", "eth1"]
vips = "external"
xdp_mode = "generic"
datapath_log = "debug"
tunnel_sources = ["10.0.0.1", "2001:db8:f::/64"]
control_socket = "/run/other.sock"
bpffs = "/mnt/bpf"

[node.limits]
services = 10
backends = 20
slots = 2000
flows = 50000

[checks.web]
kind = "http"
method = "HEAD"
path = "/up?full=1"
host = "www.example.net:8080"
expect_status = [204, "300-308", "404"]
interval = "2s 500ms"
timeout = "1s"
rise = 1
fall = 5
port = 8080

[pools.web]
mode = "dsr-ipip"
check = "web"
slots = 251
affinity = "source-vip"
flow_timeout = "1h 30m"
slow_start = "1500ms"
dead_after = "2m"
backends = [
    { name = "a.b-c_1", address = "[2001:db8::11]:443", weight = 0, state = "active" },
    { name = "b", address = "2001:db8::12", weight = 1000, state = "drain" },
    { name = "c", address = "2001:db8::13", state = "maintenance" },
]

[services.web]
vips = ["2001:db8::a", "2001:db8::b"]
ports = [443]
protocol = "udp"
pool = "web"
"#;

#[test]
fn every_key_reaches_the_model() {
    let model = model(EVERY_KEY);
    assert_eq!(
        model.node,
        Node {
            interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
            vips: VipOwnership::External,
            xdp_mode: XdpMode::Generic,
            datapath_log: DatapathLog::Debug,
            tunnel_sources: vec![ip("10.0.0.1").into(), Prefix::new(ip("2001:db8:f::"), 64).unwrap()],
            control_socket: PathBuf::from("/run/other.sock"),
            bpffs: PathBuf::from("/mnt/bpf"),
            limits: Limits { services: 10, backends: 20, slots: 2_000, flows: 50_000, sessions: 262_144 },
        }
    );
    let http = HttpCheck {
        method: "HEAD".to_owned(),
        path: "/up?full=1".to_owned(),
        host: Some("www.example.net:8080".to_owned()),
        expect_status: StatusSet(vec![(204, 204), (300, 308), (404, 404)]),
        ..HttpCheck::default()
    };
    let check = Check {
        kind: CheckKind::Http(http),
        interval: Duration::from_millis(2_500),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 5,
        port: Some(8_080),
        ..Check::new(CheckKind::Tcp)
    };
    assert_eq!(model.checks, [("web".to_owned(), check)].into());
    let pool = Pool {
        check: Some("web".to_owned()),
        affinity: Affinity::SourceVip,
        flow_timeout: Duration::from_mins(90),
        slow_start: Duration::from_millis(1_500),
        dead_after: Duration::from_mins(2),
        backends: vec![
            // The port is the service's own, so the model does not repeat it.
            Backend { weight: 0, ..backend("a.b-c_1", "2001:db8::11", None) },
            Backend { weight: 1_000, state: AdminState::Drain, ..backend("b", "2001:db8::12", None) },
            Backend { state: AdminState::Maintenance, ..backend("c", "2001:db8::13", None) },
        ],
        ..Pool::new(ForwardMode::DsrIpip, 251)
    };
    assert_eq!(model.pools, [("web".to_owned(), pool)].into());
    let service = Service {
        vips: vec![ip("2001:db8::a").into(), ip("2001:db8::b").into()],
        ports: vec![Ports::One(443)],
        protocol: Protocol::Udp,
        pool: "web".to_owned(),
    };
    assert_eq!(model.services, [("web".to_owned(), service)].into());
}

#[test]
fn what_is_left_out_has_its_default() {
    let model = model(
        "[node]\ninterfaces = ['eth0']\n[checks.tcp]\nkind = 'tcp'\n[checks.fast]\nkind = 'http'\ninterval = '100ms'\n\
         [pools.p]\nmode = 'nat'\n",
    );
    assert_eq!(
        model.node,
        Node {
            interfaces: vec!["eth0".to_owned()],
            vips: VipOwnership::Assign,
            xdp_mode: XdpMode::Auto,
            datapath_log: DatapathLog::Off,
            tunnel_sources: Vec::new(),
            control_socket: PathBuf::from("/run/lb/lbd.sock"),
            bpffs: PathBuf::from("/sys/fs/bpf/lb"),
            limits: Limits::default(),
        }
    );
    let tcp = Check {
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 3,
        jitter: Duration::ZERO,
        damping: true,
        port: None,
        source: None,
    };
    let get = HttpCheck {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        host: None,
        headers: Vec::new(),
        version: HttpVersion::Http1,
        expect_status: StatusSet(vec![(200, 399)]),
        expect_body: None,
        tls: None,
    };
    let interval = Duration::from_millis(100);
    let fast = Check { kind: CheckKind::Http(get), interval, timeout: interval, ..tcp.clone() };
    assert_eq!(model.checks, [("tcp".to_owned(), tcp), ("fast".to_owned(), fast)].into());
    let pool = Pool {
        mode: ForwardMode::Nat,
        check: None,
        slots: 16_381,
        affinity: Affinity::Flow,
        flow_timeout: Duration::from_secs(350),
        slow_start: Duration::ZERO,
        dead_after: Duration::from_secs(30),
        policy: Policy {
            on_all_down: OnAllDown::Drop,
            min_healthy: 1,
            panic_percent: 0,
            on_role_change: OnRoleChange::Keep,
        },
        gue_port: 6_080,
        snat: Vec::new(),
        backends: Vec::new(),
    };
    assert_eq!(model.pools, [("p".to_owned(), pool)].into());
}

#[test]
fn every_affinity_has_its_word() {
    for (written, expected) in
        [("flow", Affinity::Flow), ("source", Affinity::Source), ("source-vip", Affinity::SourceVip)]
    {
        let text = base_with("slots = 65537", &format!("affinity = \"{written}\""));
        assert_eq!(model(&text).pools["web"].affinity, expected, "{written}");
    }
}

#[test]
fn the_times_of_a_pool_reach_from_end_to_end_of_their_ranges() {
    let times = |flow_timeout: &str, slow_start: &str, dead_after: &str| {
        let keys = format!(
            "flow_timeout = \"{flow_timeout}\"\nslow_start = \"{slow_start}\"\ndead_after = \"{dead_after}\""
        );
        let pool = model(&base_with("slots = 65537", &keys)).pools.remove("web").unwrap();
        (pool.flow_timeout.as_secs(), pool.slow_start.as_secs(), pool.dead_after.as_secs())
    };
    assert_eq!(times("1s", "0s", "0s"), (1, 0, 0));
    assert_eq!(times("24h", "1h", "24h"), (86_400, 3_600, 86_400));
}

#[test]
fn a_backend_address_has_four_forms() {
    let forms = [
        ("10.0.0.11:8080", backend("a", "10.0.0.11", Some(8_080))),
        ("10.0.0.11", backend("a", "10.0.0.11", None)),
        ("[2001:db8::11]:8080", backend("a", "2001:db8::11", Some(8_080))),
        ("2001:db8::11", backend("a", "2001:db8::11", None)),
    ];
    for (written, expected) in forms {
        let model = model(&format!(
            "[node]\ninterfaces = ['eth0']\n[pools.p]\nmode = 'nat'\nbackends = [{{name='a', address='{written}'}}]"
        ));
        assert_eq!(model.pools["p"].backends, [expected], "{written}");
    }
}

#[test]
fn backends_in_tables_of_their_own_mean_the_same() {
    let tables = base_with(
        "backends = [\n    { name = \"web1\", address = \"10.0.0.11:80\", weight = 100 },\n    { name = \"web2\", address = \"10.0.0.12:80\" },\n]\n",
        "[[pools.web.backends]]\nname = \"web1\"\naddress = \"10.0.0.11:80\"\n\n[[pools.web.backends]]\nname = \"web2\"\naddress = \"10.0.0.12:80\"\n",
    );
    assert_eq!(model(&tables), model(BASE));
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    assert_eq!(model(&BASE.replace('\n', "\r\n")), model(BASE));
    assert_eq!(model(&format!("\u{feff}{BASE}")), model(BASE));
}

#[test]
fn a_configuration_may_serve_nothing_and_says_so() {
    assert!(model("[node]\ninterfaces = [\"eth0\"]\n").serves_nothing());
    assert!(!model(BASE).serves_nothing());
}

#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    let parsed = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<String> = parsed.warnings.to_string().lines().map(str::to_owned).collect();
    assert_eq!(warnings, expected);
    assert_eq!(parsed.warnings.len(), expected.len());
    assert_eq!(parsed.warnings.render(false).matches("warning: ").count(), expected.len());
}

#[test]
fn a_sound_configuration_has_no_warnings() {
    warns(BASE, &[]);
}

#[test]
fn what_is_never_used_is_warned_of() {
    warns(
        &base_with("check = \"web\"\n", ""),
        &["lb.toml:6:9: check `web` is never used (write check = \"web\" in a pool, or remove it)"],
    );
    warns(
        &format!("{BASE}[pools.spare]\nmode = \"nat\"\n"),
        &["lb.toml:43:8: pool `spare` is never used (write pool = \"spare\" in a service, or remove it)"],
    );
}

#[test]
fn a_pool_that_another_falls_back_to_is_used() {
    let text = base_with("mode = \"dsr-l2\"", "mode = \"dsr-l2\"\non_all_down = \"fallback:spare\"");
    let spare = "[pools.spare]\nmode = \"dsr-l2\"\ncheck = \"db\"\nbackends = [{ name = \"db3\", address = \"10.0.1.13\" }]\n";
    warns(&(text + spare), &[]);
}

#[test]
fn a_pool_that_cannot_take_over_is_warned_of() {
    warns(
        &base_with("    { name = \"db2\", address = \"10.0.1.12\" },\n", ""),
        &[
            "lb.toml:24:8: pool `db` has a single backend: when it fails, nothing takes over (add a second one)",
        ],
    );
    warns(
        &base_with(
            "    { name = \"db1\", address = \"10.0.1.11\" },\n    { name = \"db2\", address = \"10.0.1.12\" },\n",
            "",
        ),
        &["lb.toml:24:8: pool `db` has no backends: its services answer nobody (add one: lbctl backend add)"],
    );
    let idle = base_with("address = \"10.0.1.11\"", "address = \"10.0.1.11\", weight = 0")
        .replace("address = \"10.0.1.12\"", "address = \"10.0.1.12\", state = \"drain\"");
    let out = idle.replace("state = \"drain\"", "state = \"maintenance\"");
    for text in [idle, out] {
        warns(
            &text,
            &[
                "lb.toml:24:8: pool `db` gives no backend new flows (give a backend a weight above 0 and state = \"active\")",
            ],
        );
    }
}

#[test]
fn a_time_until_a_backend_is_dead_is_warned_of_where_none_is_ever_down() {
    let unchecked =
        |keys: &str| BASE.replace("mode = \"dsr-l2\"\ncheck = \"db\"", &format!("mode = \"dsr-l2\"\n{keys}"));
    let unused = "lb.toml:12:9: check `db` is never used (write check = \"db\" in a pool, or remove it)";
    warns(
        &unchecked("dead_after = \"1m\""),
        &[
            unused,
            "lb.toml:26:14: pool `db` has `dead_after` and no `check`: none of its backends is ever down (add a check, or remove it)",
        ],
    );
    // A slow start is for backends that an operator brings back, too.
    warns(&unchecked("slow_start = \"1m\""), &[unused]);
}
