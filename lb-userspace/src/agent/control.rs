//! The agent behind the control socket.

use super::admission::Known;
use super::{Agent, desired, edits, last, report};
use crate::api::control::{Control, Seen};
use crate::api::edit::{AddBackend, BackendId, EditResult, SetState};
use crate::api::error::{ApiError, ErrorCode};
use crate::api::types::{AdminState, BackendDetail, BackendInfo, Event, ServiceInfo, Status};
use crate::config::edit::{self, BackendSpec};
use crate::config::suggest::name_hint;
use crate::dataplane::{Dataplane as _, DataplaneError};
use crate::health;
use crate::model::{self, Backend, Model, Pool};
use std::time::Instant;

fn internal(error: &DataplaneError) -> ApiError {
    ApiError::new(ErrorCode::Internal, error.to_string())
}

fn admin_state(state: AdminState) -> model::AdminState {
    match state {
        AdminState::Active => model::AdminState::Active,
        AdminState::Drain => model::AdminState::Drain,
        AdminState::Maintenance => model::AdminState::Maintenance,
    }
}

/// Why the last backend of its pool is not taken out without force.
fn needs_force(id: &BackendId) -> ApiError {
    let message = format!(
        "{id} is the last backend of its pool that takes new flows: without it new clients find nobody of the pool"
    );
    let hint = "bring another one up first, or do it all the same with --force (\"force\": true)";
    ApiError::new(ErrorCode::NeedsForce, message).with_hint(hint)
}

/// The backend that is meant, and its pool.
fn find<'a>(model: &'a Model, id: &BackendId) -> Result<(&'a Pool, &'a Backend), ApiError> {
    let not_found =
        |message: String, hint: String| ApiError::new(ErrorCode::NotFound, message).with_hint(hint);
    let pool = model.pools.get(&id.pool).ok_or_else(|| {
        let names = model.pools.keys().map(String::as_str);
        not_found(format!("there is no pool `{}`", id.pool), name_hint(&id.pool, names, "there are no pools"))
    })?;
    let backend = pool.backends.iter().find(|backend| backend.name == id.name).ok_or_else(|| {
        let names = pool.backends.iter().map(|backend| backend.name.as_str());
        let hint = name_hint(&id.name, names, "the pool is empty");
        not_found(format!("pool `{}` has no backend `{}`", id.pool, id.name), hint)
    })?;
    Ok((pool, backend))
}

impl Control for Agent {
    async fn status(&self) -> Result<Status, ApiError> {
        let state = self.state.lock().await;
        report::status(&state).await.map_err(|error| internal(&error))
    }

    async fn services(&self) -> Result<Vec<ServiceInfo>, ApiError> {
        let state = self.state.lock().await;
        report::services(&state).map_err(|error| internal(&error))
    }

    async fn backends(&self, pool: Option<String>) -> Result<Vec<BackendInfo>, ApiError> {
        let state = self.state.lock().await;
        if let Some(pool) = &pool
            && !state.loaded.model.pools.contains_key(pool)
        {
            let pools: Vec<&str> = state.loaded.model.pools.keys().map(String::as_str).collect();
            return Err(ApiError::new(ErrorCode::NotFound, format!("there is no pool {pool:?}"))
                .with_hint(format!("there are: {}", pools.join(", "))));
        }
        report::backends(&state, pool.as_deref()).await.map_err(|error| internal(&error))
    }

    async fn backend(&self, id: BackendId) -> Result<BackendDetail, ApiError> {
        let state = self.state.lock().await;
        let (pool, backend) = find(&state.loaded.model, &id)?;
        report::backend(&state, &id.pool, pool, backend).await.map_err(|error| internal(&error))
    }

    async fn events(&self, limit: u32) -> Result<Vec<Event>, ApiError> {
        let events = self.events.after(0);
        let skipped = events.len().saturating_sub(limit as usize);
        Ok(events.into_iter().skip(skipped).map(report::event).collect())
    }

    async fn events_after(&self, seen: Seen, limit: u32) -> Result<Vec<Event>, ApiError> {
        let events = self.events.next(seen.number, seen.unix_time_ms).await;
        Ok(events.into_iter().take(limit as usize).map(report::event).collect())
    }

    async fn add_backend(&self, pool: String, backend: AddBackend) -> Result<EditResult, ApiError> {
        let spec = BackendSpec {
            name: backend.name,
            address: backend.address.ip,
            port: backend.address.port,
            weight: backend.weight,
            state: admin_state(backend.state),
        };
        self.edit(move |text| edit::add_backend(text, &pool, &spec)).await
    }

    async fn remove_backend(&self, backend: BackendId) -> Result<EditResult, ApiError> {
        self.edit(move |text| edit::remove_backend(text, &backend.pool, &backend.name)).await
    }

    async fn set_weight(&self, backend: BackendId, weight: u32) -> Result<EditResult, ApiError> {
        self.edit(move |text| edit::set_weight(text, &backend.pool, &backend.name, weight)).await
    }

    async fn set_state(&self, id: BackendId, request: SetState) -> Result<EditResult, ApiError> {
        // One lock for the look and the edit, so that two drains at once cannot both see the other's backend serve.
        let mut state = self.state.lock().await;
        let wanted = admin_state(request.state);
        if wanted != model::AdminState::Active && !request.force {
            let observed = state.dataplane.observe().map_err(|error| internal(&error))?;
            let (checked, in_use) = (state.health(), desired::in_use(&observed));
            let known =
                Known { model: &state.loaded.model, checked: &checked, in_use: &in_use, now: Instant::now() };
            let target = health::BackendId { pool: id.pool.clone(), backend: id.name.clone() };
            if last::is_last(&known, &target, wanted) {
                return Err(needs_force(&id));
            }
        }
        edits::edit_in(&mut state, move |text| edit::set_state(text, &id.pool, &id.name, wanted)).await
    }

    async fn reload(&self) -> Result<EditResult, ApiError> {
        self.reload_file().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_backend_is_found_by_its_name_a_standby_by_that_of_its_pool_too() {
        const FILE: &str = r#"
            [node]
            interfaces = ["eth0"]
            [pools.web]
            mode = "nat"
            on_all_down = "fallback:spare"
            backends = [{ name = "web1", address = "10.0.0.1:80" }]
            [pools.spare]
            mode = "nat"
            backends = [{ name = "web1", address = "10.0.0.9:80" }]
        "#;
        let model = crate::agent::sample_tests::model(FILE);
        let find = |id: &str| find(&model, &BackendId::with_standbys(id).unwrap());
        let address = |id: &str| find(id).unwrap().1.address.to_string();
        assert_eq!(address("web/web1"), "10.0.0.1");
        assert_eq!(address("web/spare/web1"), "10.0.0.9");
        let refusal = |id: &str| {
            let error = find(id).unwrap_err();
            assert_eq!(error.code, ErrorCode::NotFound);
            (error.message, error.hint.unwrap())
        };
        let wanted = ("there is no pool `wbe`", "did you mean `web`?");
        assert_eq!(refusal("wbe/web1"), (wanted.0.to_owned(), wanted.1.to_owned()));
        let wanted = ("pool `web` has no backend `web2`", "did you mean `web1`?");
        assert_eq!(refusal("web/web2"), (wanted.0.to_owned(), wanted.1.to_owned()));
    }

    #[test]
    fn the_refusal_says_who_and_what_to_do() {
        let error = needs_force(&"web/a".parse().unwrap());
        assert_eq!(error.code, ErrorCode::NeedsForce);
        assert!(error.message.starts_with("web/a is the last backend of its pool"), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("--force")));
    }
}
