//! What is refused of pools that say what to do when few or none of their backends are healthy.

use super::errors::{refuses, refuses_text};
use super::{base_with, parse};

/// The pool `db` of the base with these keys more.
#[track_caller]
fn db(keys: &str, message: &str, hint: &str) {
    refuses("mode = \"dsr-l2\"\n", &format!("mode = \"dsr-l2\"\n{keys}\n"), message, hint);
}

/// The same, with a check that looks for a primary.
#[track_caller]
fn primary(keys: &str, message: &str, hint: &str) {
    refuses_text(&of_primaries(keys), &[(message, hint)]);
}

fn of_primaries(keys: &str) -> String {
    base_with("mode = \"dsr-l2\"\n", &format!("mode = \"dsr-l2\"\n{keys}\n"))
        .replace("kind = \"tcp\"", "kind = \"mysql\"\nuser = \"lb_check\"\nrole = \"primary\"")
}

/// A pool of mode `dsr-l2` with one backend, to fall back to.
const SPARE: &str = "\n[pools.spare]\nmode = \"dsr-l2\"\ncheck = \"db\"\nbackends = [\n    { name = \"db3\", address = \"10.0.1.13\" },\n]\n";

#[test]
fn words_that_say_nothing() {
    let hint = "the choices are \"drop\", \"fail-open\" and \"fallback:POOL\"; after a fallback may come what to do if nobody \
                is served there either: [\"fallback:POOL\", \"fail-open\"]";
    for word in ["open", "fallback", "fallback:", "fail-open:web", "Drop", ""] {
        let message = format!("`on_all_down`: `{word}` is not a choice");
        db(&format!("on_all_down = «\"{word}\""), &message, hint);
        db(&format!("on_all_down = [«\"{word}\"]"), &message, hint);
    }
    db(
        "on_all_down = «true",
        "`on_all_down`: expected a string, found a boolean",
        "put it in double quotes: \"true\"",
    );
}

#[test]
fn words_that_do_not_go_together() {
    for words in [
        "",
        "\"drop\", \"fail-open\"",
        "\"fail-open\", \"fallback:web\"",
        "\"fallback:web\", \"fallback:web\"",
        "\"fallback:web\", \"drop\", \"drop\"",
    ] {
        db(
            &format!("on_all_down = «[{words}]"),
            "`on_all_down`: these do not go together",
            "write one of them, or [\"fallback:POOL\", \"fail-open\"]",
        );
    }
}

#[test]
fn a_fallback_to_nowhere() {
    db(
        "on_all_down = «\"fallback:db\"",
        "pool `db` falls back to itself",
        "name another pool, or write \"drop\"",
    );
    db(
        "on_all_down = «\"fallback:wbe\"",
        "pool `db` falls back to the pool `wbe`, which does not exist",
        "did you mean `web`?",
    );
    db(
        "on_all_down = [«\"fallback:archive\", \"fail-open\"]",
        "pool `db` falls back to the pool `archive`, which does not exist",
        "known: `web`",
    );
}

#[test]
fn a_fallback_of_another_mode() {
    let keys = "on_all_down = «\"fallback:web\"";
    let message = "pool `db` of mode \"dsr-l2\" falls back to pool `web` of mode \"nat\"";
    let marked = base_with("mode = \"dsr-l2\"\n", &format!("mode = \"dsr-l2\"\n{keys}\n"));
    let shown = parse(&marked.replace('«', "")).unwrap_err().to_string();
    assert!(shown.contains(message) && shown.contains("; the other mode: line 16 ("), "{shown}");
}

#[test]
fn numbers_out_of_range() {
    for (key, number, range) in [
        ("min_healthy", "0", "1 to 1000"),
        ("min_healthy", "1001", "1 to 1000"),
        ("panic_threshold", "101", "0 to 100"),
        ("panic_threshold", "-1", "0 to 100"),
    ] {
        let message = format!("`{key}`: `{number}` is out of range");
        db(&format!("{key} = «{number}"), &message, &format!("the range is {range}"));
    }
}

#[test]
fn more_healthy_ones_than_there_are() {
    db("min_healthy = «3", "`min_healthy` is 3, and pool `db` has 2 backends", "use at most 2");
    // Those of another pool do not count: they serve when there are too few.
    let text = base_with(
        "mode = \"dsr-l2\"\n",
        "mode = \"dsr-l2\"\nmin_healthy = «3\non_all_down = \"fallback:spare\"\n",
    );
    refuses_text(&(text + SPARE), &[("`min_healthy` is 3, and pool `db` has 2 backends", "use at most 2")]);
}

#[test]
fn a_change_of_role_where_there_is_none() {
    let message = "`on_role_change` has no meaning here: the pool's check does not look for a primary";
    let hint = "remove it, or name a check of kind \"mysql\" with role = \"primary\"";
    db("on_role_change = «\"reset\"", message, hint);
    let text = of_primaries("on_role_change = «\"keep\"").replace("role = \"primary\"", "role = \"replica\"");
    refuses_text(&text, &[(message, hint)]);
    primary(
        "on_role_change = «\"drop\"",
        "`on_role_change`: `drop` is not a choice",
        "the choices are \"keep\", \"reset\"",
    );
}

#[test]
fn a_guess_at_who_the_primary_is() {
    let why = "in a pool of primaries: only the one that can be written to is ever served";
    for (keys, what) in [
        ("on_all_down = «\"fail-open\"", "\"fail-open\""),
        ("panic_threshold = «50", "`panic_threshold`"),
        ("min_healthy = «2", "`min_healthy` above 1"),
    ] {
        primary(keys, &format!("{what} {why}"), "remove it");
    }
    let text = of_primaries("on_all_down = [«\"fallback:spare\", \"fail-open\"]") + SPARE;
    refuses_text(&text, &[(&format!("\"fail-open\" {why}"), "remove it")]);
    let shown = parse(&text.replace('«', "")).unwrap_err().to_string();
    assert!(shown.contains("; the check with role = \"primary\": line "), "{shown}");
    // What guesses nothing is allowed.
    for keys in
        ["on_all_down = \"drop\"", "panic_threshold = 0", "min_healthy = 1", "on_role_change = \"reset\""]
    {
        parse(&of_primaries(keys)).unwrap();
    }
    parse(&(of_primaries("on_all_down = [\"fallback:spare\", \"drop\"]") + SPARE)).unwrap();
}

#[test]
fn a_fallback_that_nat_cannot_tell_apart() {
    // The backends of `web` answer from port 80 for both services, once `db` has fallen back to them.
    let text = base_with("mode = \"dsr-l2\"\n", "mode = \"nat\"\non_all_down = \"fallback:web\"\n");
    refuses_text(
        &text.replace("vips = [\"203.0.113.20", "vips = [«\"203.0.113.20"),
        &[(
            "nat cannot tell replies to 203.0.113.20:3306/tcp from replies to 203.0.113.10:80/tcp: backend `web1` answers \
             both from 10.0.0.11:80",
            "leave the port out of the backend's address, so that each port keeps its own, or use another backend port or a \
             DSR mode",
        )],
    );
    // Without a service of its own the other pool answers for one only.
    parse(&text.replace("pool = \"web\"", "pool = \"db\"").replace("ports = [80]", "ports = [3307]"))
        .unwrap_err();
    let own_ports = text.replace("10.0.0.11:80", "10.0.0.11").replace("10.0.0.12:80", "10.0.0.12");
    parse(&own_ports).unwrap();
}

#[test]
fn standbys_need_room() {
    let part = "mode = \"dsr-l2\"\n";
    let text = base_with(part, "mode = \"dsr-l2\"\non_all_down = \"fallback:spare\"\n") + SPARE;
    // Five of their own, and one stands in for another pool.
    let limited = |limit: u32| text.replace("[node]", &format!("[node]\nlimits = {{ backends = {limit} }}"));
    parse(&limited(6)).unwrap();
    refuses_text(
        &limited(5).replace("{ name = \"db3\"", "«{ name = \"db3\""),
        &[(
            "the pools have 6 backends, but node.limits.backends is 5",
            "raise node.limits.backends to at least 6",
        )],
    );
}
