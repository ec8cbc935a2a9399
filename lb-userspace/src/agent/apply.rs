//! A new configuration takes effect, whole or not at all.

use super::state::{Loaded, State};
use super::{AgentError, attach, desired, notices, vips};
use crate::config::Parsed;
use crate::dataplane::Dataplane as _;
use crate::health::Health;
use crate::model::{Model, Node};
use crate::telemetry::events::EventKind;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Makes `parsed` (the meaning of `text`) the configuration in force. Returns sentences for the operator.
///
/// # Errors
/// When it cannot take effect; the configuration before is in force then.
pub async fn apply(state: &mut State, parsed: Parsed, text: String) -> Result<Vec<String>, AgentError> {
    let model = parsed.model;
    state.check_room(&model)?;
    let fresh =
        attach::attach_all(&mut state.dataplane, &state.netlink, &model.node, &state.interfaces).await?;
    let former = state.loaded.model.clone();
    let before = desired::health_by_identity(&former, &state.health());
    state.interfaces.extend(fresh.iter().cloned());
    let given_up = desired::given_up(&former, &model, &state.health());
    state.keeper.give_up(given_up);
    // A backend that comes back starts unknown: what was known of it is out of date.
    let outcome = switch(state, &model, &BTreeMap::new());
    if let Err(error) = outcome {
        undo(
            state,
            &former,
            &before,
            &fresh.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>(),
        );
        return Err(error);
    }
    detach_unwanted(state, &model.node);
    let mut warnings: Vec<String> = parsed.warnings.entries().map(|entry| entry.message).collect();
    warnings.extend(restart_needed(&former.node, &model.node));
    warnings.extend(moves_flows(&former, &model));
    let links = state.links();
    notices::enable_forwarding(state, &model, &links);
    state.troubles.vips = vips::assign(&state.netlink, &model, &state.kept_sources()).await;
    let elsewhere = vips::withdraw_elsewhere(&state.netlink, &model).await;
    state.troubles.elsewhere = elsewhere.err().iter().map(ToString::to_string).collect();
    notices::renew(state, &model.node, &links);
    let generation = state.loaded.generation + 1;
    state.loaded = Loaded { text, model, warnings: warnings.clone(), generation, at: SystemTime::now() };
    state.event(EventKind::ConfigApplied, "config", &format!("generation {generation} is in force"));
    warnings.extend(state.notices.iter().cloned());
    Ok(warnings)
}

/// Points health checks, next hops and maps at `model`. Backends that were not checked until now begin with `initial`.
fn switch(state: &mut State, model: &Model, initial: &BTreeMap<u64, Health>) -> Result<(), AgentError> {
    let observed = state.dataplane.observe()?;
    state.resolver.update(desired::destinations(model, &observed))?;
    state.runner.update(desired::targets(model, initial));
    tokio::task::block_in_place(|| state.reconcile_to(model))?;
    Ok(())
}

/// Back to the configuration in force before.
fn undo(state: &mut State, former: &Model, before: &BTreeMap<u64, Health>, fresh: &[&str]) {
    if let Err(error) = switch(state, former, before) {
        tracing::error!("going back to the former configuration failed, will be tried again: {error}");
    }
    for name in fresh {
        if let Err(error) = state.dataplane.detach(name) {
            tracing::error!("cannot take the program off {name} again: {error}");
        }
    }
    state.interfaces.retain(|interface| !fresh.contains(&interface.name.as_str()));
}

fn detach_unwanted(state: &mut State, node: &Node) {
    let linked = state.dataplane.linked_interfaces().unwrap_or_default();
    for name in linked.iter().filter(|name| !node.interfaces.contains(*name)) {
        match state.dataplane.detach(name) {
            Ok(_) => tracing::info!("{name}: program taken off, no longer among node.interfaces"),
            Err(error) => tracing::error!("{name}: {error}"),
        }
    }
    state.interfaces.retain(|interface| node.interfaces.contains(&interface.name));
}

/// Changes that established connections do not survive: their flows fall on other slots.
fn moves_flows(former: &Model, model: &Model) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, service) in &model.services {
        if former.services.get(name).is_some_and(|before| before.pool != service.pool) {
            warnings.push(format!(
                "service {name}: another `pool` sends its established connections to other backends, which reset them"
            ));
        }
    }
    for (name, pool) in &model.pools {
        let Some(before) = former.pools.get(name) else { continue };
        let changes = [
            ("slots", before.slots != pool.slots),
            ("affinity", before.affinity != pool.affinity),
            ("mode", before.mode != pool.mode),
        ];
        warnings.extend(changes.iter().filter(|(_, differs)| *differs).map(|(key, _)| {
            format!("pool {name}: another `{key}` sends most established connections to other backends, which reset them")
        }));
    }
    warnings
}

/// Settings that changed and are looked at only when the agent starts.
fn restart_needed(former: &Node, node: &Node) -> Vec<String> {
    let settings = [
        ("bpffs", former.bpffs != node.bpffs),
        ("control_socket", former.control_socket != node.control_socket),
        ("limits", former.limits != node.limits),
        ("datapath_log", former.datapath_log != node.datapath_log),
    ];
    let differing = settings.iter().filter(|(_, differs)| *differs);
    let mut changed: Vec<String> =
        differing.map(|(name, _)| format!("node.{name} takes effect when lbd is restarted")).collect();
    if former.xdp_mode != node.xdp_mode {
        changed.push(
            "node.xdp_mode takes effect for interfaces that are attached anew, or after `lbd remove`"
                .to_owned(),
        );
    }
    changed
}
