//! Whatever the text, reading it does not panic; whatever the edit, it changes what it names and nothing else.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use lb_userspace::config::edit::{BackendSpec, add_backend, remove_backend, set_state, set_weight};
use lb_userspace::model::{AdminState, Backend, Model};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{BASE, parse};

// --- Any text ---

/// Pieces of configurations, so that random texts get past the first line.
fn fragments() -> impl Strategy<Value = String> {
    let pieces = [
        "[node]\n",
        "[node.limits]\n",
        "[pools.web]\n",
        "[[pools.web.backends]]\n",
        "[services.web]\n",
        "[checks.web]\n",
        "interfaces = ",
        "mode = ",
        "backends = ",
        "vips = ",
        "ports = ",
        "slots = ",
        "pool = ",
        "address = ",
        "name = ",
        "weight = ",
        "kind = ",
        "interval = ",
        "timeout = ",
        "expect_status = ",
        "affinity = ",
        "flow_timeout = ",
        "slow_start = ",
        "dead_after = ",
        "state = ",
        "limits = ",
        "headers = ",
        "expect_body = ",
        "user = ",
        "role = ",
        "command = ",
        "query = ",
        "send = ",
        "source = ",
        "jitter = ",
        "tls = ",
        "on_all_down = ",
        "min_healthy = ",
        "on_role_change = ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "\"\"\"",
        ",",
        "=",
        ".",
        "#",
        "\n",
        "\r\n",
        "\u{feff}",
        "\"nat\"",
        "\"web\"",
        "80",
        "-1",
        "0x10",
        "1e9",
        "true",
        "1979-05-27",
        "\"10.0.0.1:80\"",
        "\"::1\"",
        "\"1s\"",
        "\"source-vip\"",
        "\"maintenance\"",
        "\"https\"",
        "\"mysql\"",
        "\"exec\"",
        "\"primary\"",
        "\"fallback:web\"",
        "\"(\"",
        "\"ü\"",
        "[pools.web",
        "[[pools.web]]\n",
        "pools.web.mode = ",
        "\u{0}",
        "\u{1b}[31m",
    ];
    vec(select(pieces.to_vec()), 0..60).prop_map(|pieces| pieces.concat())
}

/// Every kind of check and a pool with a policy, to follow the base.
const CHECKS: &str = r#"
[checks.page]
kind = "https"
headers = { X-Check = "lb" }
version = "2"
expect_body = "status: (ok|fine)"
server_name = "www.example.net"
ca = "/etc/lb/ca.pem"
[checks.udp]
kind = "udp"
send = "ping"
[checks.dns]
kind = "dns"
query = "www.example.net"
record = "AAAA"
[checks.grpc]
kind = "grpc"
tls = true
verify = false
[checks.mysql]
kind = "mysql"
user = "lb_check"
password = "secret"
role = "replica"
max_lag = "5s"
[checks.exec]
kind = "exec"
command = ["/bin/check", "{address}"]
jitter = "100ms"
source = "10.0.0.2"
[checks.agent]
kind = "agent"
send = "how are you?"

[pools.reads]
mode = "nat"
check = "mysql"
on_all_down = ["fallback:web", "fail-open"]
min_healthy = 1
panic_threshold = 50
backends = [{ name = "db9", address = "10.0.2.9:3306" }]
"#;

/// Every way to look at a result, so that none of them panics.
fn look_at(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(parsed) => {
            prop_assert_eq!(parsed.warnings.entries().count(), parsed.warnings.len());
            parsed.warnings.render(true);
        }
        Err(errors) => {
            prop_assert!(errors.len() > 0);
            for entry in errors.entries() {
                let lines = text.split('\n').count();
                prop_assert!((1..=lines).contains(&entry.line), "line {} of {lines}", entry.line);
                let line = text.split('\n').nth(entry.line - 1).unwrap_or_default();
                prop_assert!((1..=line.chars().count() + 1).contains(&entry.column), "{entry:?} in {line:?}");
                prop_assert!(!entry.message.is_empty() && !entry.hint.is_empty());
                prop_assert!(!entry.message.contains(char::is_control), "{:?}", entry.message);
            }
            prop_assert!(!errors.render(false).is_empty() && !errors.to_string().is_empty());
            errors.render(true);
        }
    }
    let backend = spec("new", 99, None);
    let _ = add_backend(text, "web", &backend);
    let _ = remove_backend(text, "web", "web1");
    let _ = set_weight(text, "web", "web1", 1);
    Ok(())
}

#[test]
fn what_is_damaged_was_valid() {
    parse(&format!("{BASE}{CHECKS}")).unwrap();
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        look_at(&text)?;
    }

    #[test]
    fn any_pieces_are_read_without_a_panic(text in fragments()) {
        look_at(&text)?;
    }

    #[test]
    fn any_damage_to_a_valid_file_is_read_without_a_panic(
        start in 0..BASE.len(), length in 0_usize..20, put in "[\\]\\[{}=\",.#\nab0é]{0,3}"
    ) {
        let end = (start + length).min(BASE.len());
        look_at(&format!("{}{put}{}", &BASE[..start], &BASE[end..]))?;
    }

    #[test]
    fn any_damage_to_checks_and_policies_is_read_without_a_panic(
        start in 0..CHECKS.len(), length in 0_usize..20, put in "[\\]\\[{}=\",.#:\nab0é]{0,3}"
    ) {
        let end = (start + length).min(CHECKS.len());
        look_at(&format!("{BASE}{}{put}{}", &CHECKS[..start], &CHECKS[end..]))?;
    }
}

// --- Edits of valid files ---

/// How the backends of a generated file are laid out.
#[derive(Clone, Copy, Debug)]
enum Layout {
    OneLine,
    Lines { trailing_comma: bool, closing_on_own_line: bool },
    Tables,
}

fn layouts() -> impl Strategy<Value = Layout> {
    let lines = (any::<bool>(), any::<bool>()).prop_map(|(trailing_comma, closing_on_own_line)| {
        Layout::Lines { trailing_comma, closing_on_own_line }
    });
    prop_oneof![Just(Layout::OneLine), lines, Just(Layout::Tables)]
}

#[derive(Clone, Debug)]
struct Written {
    weight: Option<u32>,
    state: AdminState,
    /// A comment on a line above, which must survive everything.
    has_comment_above: bool,
    has_own_comment: bool,
}

fn states() -> impl Strategy<Value = AdminState> {
    select(vec![AdminState::Active, AdminState::Drain, AdminState::Maintenance])
}

fn written() -> impl Strategy<Value = Written> {
    (option::of(0_u32..=1_000), states(), any::<bool>(), any::<bool>()).prop_map(
        |(weight, state, has_comment_above, has_own_comment)| Written {
            weight,
            state,
            has_comment_above,
            has_own_comment,
        },
    )
}

type Backends = std::collections::BTreeMap<u8, Written>;

#[derive(Clone, Debug)]
enum Edit {
    Add { host: u8, weight: Option<u32>, state: AdminState },
    Remove { which: prop::sample::Index },
    Weight { which: prop::sample::Index, weight: u32 },
    State { which: prop::sample::Index, state: AdminState },
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (101_u8..200, option::of(0_u32..=1_000), states()).prop_map(|(host, weight, state)| Edit::Add {
            host,
            weight,
            state
        }),
        any::<prop::sample::Index>().prop_map(|which| Edit::Remove { which }),
        (any::<prop::sample::Index>(), 0_u32..=1_000)
            .prop_map(|(which, weight)| Edit::Weight { which, weight }),
        (any::<prop::sample::Index>(), states()).prop_map(|(which, state)| Edit::State { which, state }),
    ]
}

/// A whole file with the pool `p` laid out as asked, between other tables with comments.
fn file(backends: &Backends, layout: Layout) -> String {
    let mut text =
        "# top\n[node]\ninterfaces = [\"eth0\"] # node\n\n# pool p\n[pools.p]\nmode = \"nat\" # mode\n"
            .to_owned();
    match layout {
        Layout::Tables => write_tables(&mut text, backends),
        Layout::OneLine => {
            let elements: Vec<String> = backends.iter().map(|(host, one)| braces(*host, one)).collect();
            let _ = writeln!(text, "backends = [{}] # list", elements.join(", "));
        }
        Layout::Lines { trailing_comma, closing_on_own_line } => {
            write_lines(&mut text, backends, trailing_comma, closing_on_own_line);
        }
    }
    text.push_str("# after\n\n# pool q\n[pools.q]\nmode = \"dsr-l2\"\n\n[services.s] # s\nvips = [\"203.0.113.1\"]\nports = [80]\nprotocol = \"tcp\"\npool = \"p\"\n# end\n");
    text
}

fn fields(host: u8, one: &Written) -> Vec<String> {
    let mut fields = vec![format!("name = \"b{host}\""), format!("address = \"10.0.0.{host}:80\"")];
    fields.extend(one.weight.map(|weight| format!("weight = {weight}")));
    fields.extend(match one.state {
        AdminState::Active => None,
        AdminState::Drain => Some("state = \"drain\"".to_owned()),
        AdminState::Maintenance => Some("state = \"maintenance\"".to_owned()),
    });
    fields
}

fn braces(host: u8, one: &Written) -> String {
    format!("{{ {} }}", fields(host, one).join(", "))
}

fn write_lines(text: &mut String, backends: &Backends, trailing_comma: bool, closing_on_own_line: bool) {
    text.push_str("backends = [\n");
    for (index, (host, one)) in backends.iter().enumerate() {
        let is_last = index + 1 == backends.len();
        if one.has_comment_above {
            let _ = writeln!(text, "    # above {host}");
        }
        let comma = if is_last && !trailing_comma { "" } else { "," };
        let _ = write!(text, "    {}{comma}", braces(*host, one));
        if is_last && !closing_on_own_line {
            break;
        }
        text.push_str(if one.has_own_comment { " # own\n" } else { "\n" });
    }
    text.push_str("] # list\n");
}

fn write_tables(text: &mut String, backends: &Backends) {
    for (host, one) in backends {
        if one.has_comment_above {
            let _ = writeln!(text, "\n# above {host}");
        }
        let own = if one.has_own_comment { " # own" } else { "" };
        let _ = writeln!(text, "[[pools.p.backends]]{own}\n{}", fields(*host, one).join("\n"));
    }
}

fn spec(name: &str, host: u8, weight: Option<u32>) -> BackendSpec {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
    BackendSpec { name: name.to_owned(), address, port: Some(80), weight, state: AdminState::Active }
}

/// Makes the edit in the text and in a model, which must then agree. `None` if there is nothing to edit.
fn apply(edit: &Edit, text: &str, mut model: Model) -> Option<(String, Model)> {
    let backends = &mut model.pools.get_mut("p")?.backends;
    let at = |which: &prop::sample::Index, backends: &Vec<Backend>| {
        (!backends.is_empty()).then(|| which.index(backends.len()))
    };
    let edited = match edit {
        Edit::Add { host, weight, state } => {
            let mut backend = spec(&format!("b{host}"), *host, *weight);
            backend.state = *state;
            let BackendSpec { name, address, port, state, .. } = backend.clone();
            if backends.iter().any(|existing| existing.name == name) {
                return None;
            }
            backends.push(Backend {
                name,
                address,
                port,
                weight: weight.unwrap_or(100),
                state,
                standby_of: None,
            });
            add_backend(text, "p", &backend)
        }
        Edit::Remove { which } => {
            let index = at(which, backends)?;
            remove_backend(text, "p", &backends.remove(index).name)
        }
        Edit::Weight { which, weight } => {
            let index = at(which, backends)?;
            backends[index].weight = *weight;
            set_weight(text, "p", &backends[index].name, *weight)
        }
        Edit::State { which, state } => {
            let index = at(which, backends)?;
            backends[index].state = *state;
            set_state(text, "p", &backends[index].name, backends[index].state)
        }
    };
    Some((edited.unwrap_or_else(|error| panic!("{error}\n{text}")), model))
}

/// The comments that no edit may lose: all but those on a backend's own line.
fn comments(text: &str) -> Vec<&str> {
    let all = text.lines().filter_map(|line| line.split_once('#'));
    all.map(|(_, comment)| comment.trim()).filter(|comment| *comment != "own").collect()
}

proptest! {
    #[test]
    fn edits_change_what_they_name_and_keep_every_comment(
        backends in btree_map(1_u8..100, written(), 0..5),
        layout in layouts(),
        edits in vec(edits(), 1..8),
    ) {
        let mut text = file(&backends, layout);
        let before = comments(&text).join("\n");
        for edit in &edits {
            let model = parse(&text).unwrap().model;
            let Some((edited, expected)) = apply(edit, &text, model) else { continue };
            match parse(&edited) {
                Ok(parsed) => prop_assert_eq!(parsed.model, expected, "{:?} of\n{}gave\n{}", edit, text, edited),
                Err(errors) => prop_assert!(false, "{edit:?} of\n{text}gave\n{edited}{errors}"),
            }
            text = edited;
        }
        prop_assert_eq!(comments(&text).join("\n"), before);
    }

    #[test]
    fn removing_what_was_added_gives_the_same_text(
        backends in btree_map(1_u8..100, written(), 1..5),
        layout in layouts(),
    ) {
        let text = file(&backends, layout);
        let added = add_backend(&text, "p", &spec("new", 200, None)).unwrap();
        prop_assert_ne!(&added, &text);
        let removed = remove_backend(&added, "p", "new").unwrap();
        prop_assert_eq!(removed, text);
    }
}
