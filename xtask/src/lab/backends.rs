//! What `lbctl backend list` says.
//!
//! Role: pure; the parts of its JSON that the lab looks at. Imports `lane`.
//! Always holds: fields that are not there count as not ready, never as ready.

use serde::Deserialize;

use super::lane::{Lane, WEB_COUNT, web_name};

/// A backend, as far as the lab looks at it.
#[derive(Clone, Debug, Deserialize)]
pub struct Backend {
    pool: String,
    name: String,
    #[serde(default)]
    admin_state: String,
    health: Health,
    #[serde(default)]
    slot_share_percent: f64,
    next_hop: NextHop,
}

#[derive(Clone, Debug, Deserialize)]
struct Health {
    state: String,
    reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct NextHop {
    state: String,
    error: Option<String>,
}

/// What keeps the lab's backends from serving, a line each; empty when every one of every lane is up, has a next hop
/// and a share of the slots.
pub fn not_ready(backends: &[Backend]) -> Vec<String> {
    each_of_the_lab(backends)
        .filter_map(|(id, backend)| {
            let Some(backend) = backend else { return Some(format!("{id}: not listed")) };
            backend.obstacle().map(|obstacle| format!("{id}: {obstacle}"))
        })
        .collect()
}

/// The backends of one web server that are not `down`, a line each.
pub fn not_down(backends: &[Backend], web: usize) -> Vec<String> {
    let name = web_name(web);
    let is_down = |backend: &Backend| backend.health.state == "down" && backend.slot_share_percent <= 0.0;
    each_of_the_lab(backends)
        .filter(|(id, backend)| id.ends_with(&format!("/{name}")) && !backend.is_some_and(is_down))
        .map(|(id, backend)| match backend {
            Some(backend) => {
                format!("{id}: {}, {} % of the slots", backend.health.state, backend.slot_share_percent)
            }
            None => format!("{id}: not listed"),
        })
        .collect()
}

/// A word on the backend of one lane on one web server.
pub fn condition(backends: &[Backend], lane: Lane, web: usize) -> &str {
    match find(backends, lane, web) {
        None => "-",
        Some(backend) if backend.admin_state == "drain" => "drain",
        Some(backend) => &backend.health.state,
    }
}

/// The backends that the lab's configuration has, with their names.
fn each_of_the_lab(backends: &[Backend]) -> impl Iterator<Item = (String, Option<&Backend>)> {
    Lane::ALL.into_iter().flat_map(move |lane| {
        (0..WEB_COUNT)
            .map(move |web| (format!("{}/{}", lane.pool(), web_name(web)), find(backends, lane, web)))
    })
}

fn find(backends: &[Backend], lane: Lane, web: usize) -> Option<&Backend> {
    let (pool, name) = (lane.pool(), web_name(web));
    backends.iter().find(|backend| backend.pool == pool && backend.name == name)
}

impl Backend {
    fn obstacle(&self) -> Option<String> {
        let because =
            |reason: &Option<String>| reason.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        if self.health.state != "up" {
            return Some(format!("{}{}", self.health.state, because(&self.health.reason)));
        }
        if self.next_hop.state != "resolved" {
            return Some(format!("next hop {}{}", self.next_hop.state, because(&self.next_hop.error)));
        }
        (self.slot_share_percent <= 0.0).then(|| "has no slots".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The lab's backends as `lbctl` lists them, changed by `change`.
    fn listed(change: impl Fn(&mut Value)) -> Vec<Backend> {
        let mut list = Vec::new();
        for lane in Lane::ALL {
            for web in 0..WEB_COUNT {
                let mut backend = json!({
                    "pool": lane.pool(), "name": web_name(web), "index": 1, "address": "10.0.0.11", "port": null,
                    "weight": 100, "admin_state": "active",
                    "health": { "state": "up", "since_seconds": 1, "reason": null, "last_latency_us": 100 },
                    "slot_share_percent": 33.3,
                    "next_hop": { "state": "resolved", "mac": "02:00:00:00:00:01", "interface": "back" },
                    "packets": 0, "bytes": 0, "new_connections": 0, "added_later": true,
                });
                change(&mut backend);
                list.push(backend);
            }
        }
        serde_json::from_value(list.into()).unwrap()
    }

    /// Changes the second server of the last lane.
    fn one(backend: &mut Value, change: impl Fn(&mut Value)) {
        if backend["pool"] == "dsr-ipip-v6" && backend["name"] == "web2" {
            change(backend);
        }
    }

    #[test]
    fn the_lab_is_ready_when_all_backends_are_up_resolved_and_in_the_slot_tables() {
        assert_eq!(not_ready(&listed(|_| ())), [""; 0]);
        assert_eq!(not_ready(&[]).len(), 18);
    }

    #[test]
    fn what_one_backend_lacks_is_said() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 4] = [
            (
                |backend| backend["health"] = json!({ "state": "unknown", "reason": "not probed" }),
                "unknown: not probed",
            ),
            (
                |backend| backend["next_hop"] = json!({ "state": "unresolved", "error": "no route" }),
                "next hop unresolved: no route",
            ),
            (|backend| backend["slot_share_percent"] = json!(0.0), "has no slots"),
            (|backend| backend["name"] = json!("web7"), "not listed"),
        ];
        for (change, wanted) in cases {
            let found = not_ready(&listed(|backend| one(backend, change)));
            assert_eq!(found, [format!("dsr-ipip-v6/web2: {wanted}")]);
        }
    }

    #[test]
    fn a_killed_server_must_be_down_and_without_slots_in_every_lane() {
        let kill = |backend: &mut Value| {
            if backend["name"] == "web2" {
                backend["health"]["state"] = json!("down");
                backend["slot_share_percent"] = json!(0.0);
            }
        };
        assert_eq!(not_down(&listed(kill), 1), [""; 0]);
        let forgotten = listed(|backend| {
            kill(backend);
            one(backend, |backend| backend["slot_share_percent"] = json!(50.0));
        });
        assert_eq!(not_down(&forgotten, 1), ["dsr-ipip-v6/web2: down, 50 % of the slots"]);
        assert_eq!(not_down(&listed(|_| ()), 1).len(), 6);
        assert_eq!(not_down(&[], 1).len(), 6);
    }

    #[test]
    fn a_drained_backend_shows_as_such_and_a_removed_one_as_a_dash() {
        let drained = listed(|backend| one(backend, |backend| backend["admin_state"] = json!("drain")));
        assert_eq!(condition(&drained, Lane::ALL[5], 1), "drain");
        assert_eq!(condition(&drained, Lane::ALL[5], 0), "up");
        assert_eq!(condition(&[], Lane::ALL[5], 1), "-");
    }
}
