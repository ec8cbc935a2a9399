//! Edits: what the text looks like afterwards, to the byte.

use std::net::IpAddr;

use lb_userspace::config::edit::{
    BackendSpec, EditError, add_backend, remove_backend, set_state, set_weight,
};
use lb_userspace::model::AdminState;

use super::{BASE, parse};

fn spec(name: &str, address: &str, port: Option<u16>) -> BackendSpec {
    let address: IpAddr = address.parse().unwrap();
    BackendSpec { name: name.to_owned(), address, port, weight: None, state: AdminState::Active }
}

fn new() -> BackendSpec {
    spec("new", "10.0.0.99", Some(80))
}

/// A pool of one line, to try layouts with.
fn pool(backends: &str) -> String {
    format!("[pools.p]\nmode = \"nat\"\n{backends}\n\n# after\n[pools.q]\nmode = \"nat\"\n")
}

#[track_caller]
fn adds(before: &str, after: &str) {
    assert_eq!(add_backend(&pool(before), "p", &new()).unwrap(), pool(after));
}

#[track_caller]
fn removes(backend: &str, before: &str, after: &str) {
    assert_eq!(remove_backend(&pool(before), "p", backend).unwrap(), pool(after));
}

#[test]
fn adding_to_several_lines_takes_a_line_and_keeps_comments() {
    adds(
        "backends = [\n  { name = \"a\" },  # the first\n  # and\n  { name = \"b\" },  # the last\n  # end\n]  # closed",
        "backends = [\n  { name = \"a\" },  # the first\n  # and\n  { name = \"b\" },  # the last\n  # end\n  { name = \"new\", address = \"10.0.0.99:80\" },\n]  # closed",
    );
}

#[test]
fn adding_without_a_trailing_comma_keeps_that_style() {
    adds(
        "backends = [\n    { name = \"a\" } # the last\n]",
        "backends = [\n    { name = \"a\" }, # the last\n    { name = \"new\", address = \"10.0.0.99:80\" }\n]",
    );
    adds(
        "backends = [\n    { name = \"a\" }]",
        "backends = [\n    { name = \"a\" },\n    { name = \"new\", address = \"10.0.0.99:80\" }]",
    );
}

#[test]
fn adding_to_one_line_keeps_one_line() {
    adds(
        "backends = [{ name = \"a\" }]",
        "backends = [{ name = \"a\" }, { name = \"new\", address = \"10.0.0.99:80\" }]",
    );
    adds(
        "backends = [ { name = \"a\" } ] # c",
        "backends = [ { name = \"a\" }, { name = \"new\", address = \"10.0.0.99:80\" } ] # c",
    );
}

#[test]
fn adding_to_an_empty_pool_begins_a_list_of_lines() {
    let list = "backends = [\n    { name = \"new\", address = \"10.0.0.99:80\" },\n]";
    adds("backends = []", list);
    assert_eq!(
        add_backend("[pools.p]\nmode = \"nat\"  # why\n", "p", &new()).unwrap(),
        format!("[pools.p]\nmode = \"nat\"  # why\n{list}\n")
    );
    adds(
        "backends = [\n    # none yet\n]",
        "backends = [\n    # none yet\n    { name = \"new\", address = \"10.0.0.99:80\" },\n]",
    );
}

#[test]
fn adding_writes_what_was_asked_for() {
    let mut backend = spec("v6", "2001:db8::9", Some(443));
    backend.weight = Some(7);
    backend.state = AdminState::Drain;
    let text = add_backend(&pool("backends = []"), "p", &backend).unwrap();
    let line = "{ name = \"v6\", address = \"[2001:db8::9]:443\", weight = 7, state = \"drain\" },";
    assert!(text.contains(line), "{text}");
    let text = add_backend(&pool("backends = []"), "p", &spec("v6", "2001:db8::9", None)).unwrap();
    assert!(text.contains("address = \"2001:db8::9\" }"), "{text}");
}

#[test]
fn adding_a_table_goes_after_the_last_one() {
    adds(
        "\n[[pools.p.backends]]\nname = \"a\"  # mine\n\n# b is slow\n[[pools.p.backends]]\nname = \"b\"",
        "\n[[pools.p.backends]]\nname = \"a\"  # mine\n\n# b is slow\n[[pools.p.backends]]\nname = \"b\"\n\n[[pools.p.backends]]\nname = \"new\"\naddress = \"10.0.0.99:80\"",
    );
    adds(
        "\n  [[pools.p.backends]]\n    name = \"a\"",
        "\n  [[pools.p.backends]]\n    name = \"a\"\n\n  [[pools.p.backends]]\n    name = \"new\"\n    address = \"10.0.0.99:80\"",
    );
}

#[test]
fn removing_a_line_takes_its_own_comment_only() {
    let list = "backends = [\n    # rack 1\n    { name = \"a\" }, # is a\n    # rack 2\n    { name = \"b\" }, # is b\n    { name = \"c\" }, # is c\n    # end\n]";
    removes(
        "a",
        list,
        "backends = [\n    # rack 1\n    # rack 2\n    { name = \"b\" }, # is b\n    { name = \"c\" }, # is c\n    # end\n]",
    );
    removes(
        "b",
        list,
        "backends = [\n    # rack 1\n    { name = \"a\" }, # is a\n    # rack 2\n    { name = \"c\" }, # is c\n    # end\n]",
    );
    removes(
        "c",
        list,
        "backends = [\n    # rack 1\n    { name = \"a\" }, # is a\n    # rack 2\n    { name = \"b\" }, # is b\n    # end\n]",
    );
}

#[test]
fn removing_works_without_a_trailing_comma() {
    let list = "backends = [\n    { name = \"a\" }, # is a\n    { name = \"b\" } # is b\n]";
    removes("a", list, "backends = [\n    { name = \"b\" } # is b\n]");
    removes("b", list, "backends = [\n    { name = \"a\" } # is a\n]");
    let tight = "backends = [\n    { name = \"a\" }, # is a\n    { name = \"b\" }]";
    removes("b", tight, "backends = [\n    { name = \"a\" } # is a\n]");
}

#[test]
fn removing_from_a_shared_line_keeps_the_lines_comment() {
    let list = "backends = [\n    { name = \"a\" }, { name = \"b\" }, # both\n    { name = \"c\" },\n]";
    removes("a", list, "backends = [\n    { name = \"b\" }, # both\n    { name = \"c\" },\n]");
    removes("b", list, "backends = [\n    { name = \"a\" }, # both\n    { name = \"c\" },\n]");
    let line = "backends = [ { name = \"a\" }, { name = \"b\" } ]";
    removes("a", line, "backends = [ { name = \"b\" } ]");
    removes("b", line, "backends = [ { name = \"a\" } ]");
}

#[test]
fn removing_the_last_one_leaves_an_empty_list() {
    removes("a", "backends = [\n    { name = \"a\" },\n]", "backends = []");
    removes("a", "backends = [\n    # rack 1\n    { name = \"a\" },\n]", "backends = [\n    # rack 1\n]");
}

#[test]
fn removing_with_commas_in_front_stays_toml() {
    let list = "backends = [\n    { name = \"a\" } # is a\n  , { name = \"b\" } # is b\n  , { name = \"c\" } # is c\n]";
    for (removed, left) in [("a", ["b", "c"]), ("b", ["a", "c"]), ("c", ["a", "b"])] {
        let text = remove_backend(&pool(list), "p", removed).unwrap();
        let tree: toml_edit::DocumentMut = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        let backends = tree["pools"]["p"]["backends"].as_array().unwrap();
        let names: Vec<_> = backends
            .iter()
            .map(|backend| backend.as_inline_table().unwrap()["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, left);
    }
}

#[test]
fn removing_a_table_keeps_the_comments_above_it() {
    let tables = "\n# rack 1\n[[pools.p.backends]]\n# inside\nname = \"a\" # is a\n\n# rack 2\n[[pools.p.backends]]\nname = \"b\"";
    removes("a", tables, "\n# rack 1\n\n# rack 2\n[[pools.p.backends]]\nname = \"b\"");
    removes("b", tables, "\n# rack 1\n[[pools.p.backends]]\n# inside\nname = \"a\" # is a\n\n# rack 2");
    let last = "[pools.p]\nmode = \"nat\"\n\n# alone\n[[pools.p.backends]]\nname = \"a\"\n\n# end\n";
    assert_eq!(remove_backend(last, "p", "a").unwrap(), "[pools.p]\nmode = \"nat\"\n\n# alone\n\n# end\n");
}

#[test]
fn setting_a_value_keeps_its_place_and_comment() {
    let tables = pool("\n[[pools.p.backends]]\nname = \"a\"\nweight   =   5  # five\naddress = \"10.0.0.1\"");
    assert_eq!(set_weight(&tables, "p", "a", 6).unwrap(), tables.replace("5  # five", "6  # five"));
    let inline = pool("backends = [\n    { name = \"a\",  weight =  5 , state=\"drain\" }, # five\n]");
    assert_eq!(set_weight(&inline, "p", "a", 0).unwrap(), inline.replace("weight =  5 ", "weight =  0 "));
    assert_eq!(
        set_state(&inline, "p", "a", AdminState::Active).unwrap(),
        inline.replace("state=\"drain\"", "state=\"active\"")
    );
}

#[test]
fn setting_a_new_value_appends_it() {
    let inline = pool("backends = [\n    { name = \"a\" }, # is a\n    {name = \"b\"},\n]");
    assert_eq!(
        set_weight(&inline, "p", "a", 6).unwrap(),
        inline.replace("{ name = \"a\" }", "{ name = \"a\", weight = 6 }")
    );
    assert_eq!(
        set_state(&inline, "p", "b", AdminState::Drain).unwrap(),
        inline.replace("{name = \"b\"}", "{name = \"b\", state = \"drain\"}")
    );
    let tables = pool("\n  [[pools.p.backends]]\n    name = \"a\" # is a");
    assert_eq!(set_weight(&tables, "p", "a", 6).unwrap(), tables.replace("# is a", "# is a\n    weight = 6"));
}

#[test]
fn an_absent_state_is_active_already() {
    let text = pool("backends = [{ name = \"a\" }]");
    assert_eq!(set_state(&text, "p", "a", AdminState::Active).unwrap(), text);
}

#[test]
fn every_way_to_write_a_pool_can_be_edited() {
    let forms = [
        "pools.p.mode = \"nat\"\n",
        "pools = { p = { mode = \"nat\" } }\n",
        "[pools]\np = { mode = \"nat\", backends = [] }\n",
        "[pools]\np.mode = \"nat\"\n",
        "[pools.\"p\"]\nmode = \"nat\"",
    ];
    for form in forms {
        // The node goes last: a bare key must come before every header.
        let whole = |text: &str| format!("{text}\n[node]\ninterfaces = [\"eth0\"]\n");
        let text = add_backend(&whole(form), "p", &new()).unwrap();
        let model = parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).model;
        assert_eq!(model.pools["p"].backends.len(), 1, "{text}");
        let text = set_weight(&text, "p", "new", 3).unwrap();
        let text = set_state(&text, "p", "new", AdminState::Drain).unwrap();
        let model = parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).model;
        assert_eq!(
            (model.pools["p"].backends[0].weight, model.pools["p"].backends[0].state),
            (3, AdminState::Drain)
        );
        let text = remove_backend(&text, "p", "new").unwrap();
        assert!(parse(&text).unwrap().model.pools["p"].backends.is_empty(), "{text}");
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_stay() {
    let text = format!("\u{feff}{}", BASE.replace('\n', "\r\n"));
    let edited = set_weight(&text, "web", "web1", 7).unwrap();
    assert_eq!(edited, text.replace("weight = 100", "weight = 7"));
}

#[test]
fn what_is_unknown_is_named_with_a_suggestion() {
    let shown = |result: Result<String, EditError>| result.unwrap_err().to_string();
    assert_eq!(shown(add_backend(BASE, "wbe", &new())), "there is no pool `wbe` (did you mean `web`?)");
    assert_eq!(shown(add_backend("", "web", &new())), "there is no pool `web` (the file has no pools)");
    assert_eq!(
        shown(remove_backend(BASE, "web", "web3")),
        "pool `web` has no backend `web3` (did you mean `web1`?)"
    );
    assert_eq!(
        shown(set_weight(BASE, "db", "mail", 1)),
        "pool `db` has no backend `mail` (known: `db1`, `db2`)"
    );
    assert_eq!(
        shown(set_state(&pool("backends = []"), "p", "a", AdminState::Drain)),
        "pool `p` has no backend `a` (the pool is empty)"
    );
}

#[test]
fn what_is_there_already_is_refused() {
    let shown = |backend: &BackendSpec| add_backend(BASE, "web", backend).unwrap_err().to_string();
    assert_eq!(
        shown(&spec("web1", "10.0.0.99", None)),
        "pool `web` has a backend `web1` already (choose another name)"
    );
    assert_eq!(
        shown(&spec("web3", "10.0.0.12", Some(80))),
        "pool `web` has a backend with the address 10.0.0.12:80 already: `web2` (use its weight for a larger \
         share)"
    );
}

#[test]
fn what_cannot_be_edited_says_so() {
    assert!(matches!(remove_backend("x = [", "p", "a"), Err(EditError::Syntax { .. })));
    for text in ["pools = 1", "[pools]\np = 1", "[pools.p]\nbackends = 1", "[pools.p]\nbackends = [1]"] {
        assert!(matches!(set_weight(text, "p", "a", 1), Err(EditError::Malformed { .. })), "{text}");
        assert!(matches!(add_backend(text, "p", &new()), Err(EditError::Malformed { .. })), "{text}");
    }
}
