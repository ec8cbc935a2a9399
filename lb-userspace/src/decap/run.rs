//! Running in the foreground: attach, follow addresses and interface, print counters, detach.

use super::addresses::{of_interfaces, stack_interfaces};
use super::attach::{check_privileges, free_interface};
use super::kernel::{Attached, DecapConfig, Decapsulator};
use super::{DecapError, Mode, Options, Report, advice};
use crate::netlink::{Link, Netlink};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// The interface and its addresses are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A period that never ends, for a timer that is not wanted.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// Takes packets out of tunnels until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start. While it runs, what goes wrong is logged and tried again.
pub async fn run(options: &Options) -> Result<(), DecapError> {
    options.check()?;
    check_privileges()?;
    let netlink = Netlink::open()?;
    let link = free_interface(&netlink, &options.interface).await?;
    let decapsulator = Decapsulator::load(&DecapConfig {
        vips: &options.vips,
        sources: &options.sources,
        gue_port: options.gue_port,
    })?;
    let mut running = Running { options, netlink, decapsulator, attached: None, trouble: None };
    running.follow_addresses(link.index).await?;
    running.attach(&link)?;
    running.advise(link.index).await?;
    tracing::info!("lbd decap ready");
    notify(sd_notify::NotifyState::Ready);
    let result = running.until_told_to_stop().await;
    notify(sd_notify::NotifyState::Stopping);
    running.decapsulator.detach();
    tracing::info!("{}: program taken off", options.interface);
    running.print();
    result
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd was not told: {error}");
    }
}

struct Running<'a> {
    options: &'a Options,
    netlink: Netlink,
    decapsulator: Decapsulator,
    /// How, where (interface index) and as which program it is attached.
    attached: Option<(Attached, u32, u32)>,
    /// What the last look complained about, so that it is logged once.
    trouble: Option<String>,
}

impl Running<'_> {
    fn attach(&mut self, link: &Link) -> Result<(), DecapError> {
        let mode = self.options.mode;
        let (native, generic) = (mode != Mode::Generic, mode != Mode::Native);
        self.attached = None;
        let attached = self.decapsulator.attach(&link.name, link.index, native, generic)?;
        let id = self.decapsulator.program_id(attached)?;
        self.attached = Some((attached, link.index, id));
        tracing::info!("{}: XDP {}", link.name, attached.name());
        if attached == Attached::Generic {
            tracing::info!(
                "generic mode: switch merging off where packets are large: ethtool -K {} gro off",
                link.name
            );
        }
        Ok(())
    }

    /// Brings the program's tunnel addresses up to date.
    async fn follow_addresses(&mut self, ifindex: u32) -> Result<(), DecapError> {
        let addresses: BTreeSet<IpAddr> = if self.options.tunnel_addresses.is_empty() {
            let links = self.netlink.links().await?;
            of_interfaces(&self.netlink, &stack_interfaces(&links, ifindex), &self.options.vips).await?
        } else {
            self.options.tunnel_addresses.iter().copied().collect()
        };
        if self.decapsulator.set_ends(&addresses)? {
            let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            if names.is_empty() {
                tracing::warn!(
                    "{} has no address that tunnels could end at: none is accepted until it has one",
                    self.options.interface
                );
            } else {
                tracing::info!("tunnels end at {}", names.join(", "));
            }
        }
        Ok(())
    }

    /// Says what else the machine needs.
    async fn advise(&self, ifindex: u32) -> Result<(), DecapError> {
        let links = self.netlink.links().await?;
        let interfaces = stack_interfaces(&links, ifindex);
        let machine = advice::look(&self.netlink, &links, &interfaces, &self.options.vips).await?;
        for sentence in advice::sentences(&machine) {
            tracing::warn!("{sentence}");
        }
        Ok(())
    }

    async fn until_told_to_stop(&mut self) -> Result<(), DecapError> {
        let failed = |cause| DecapError::System { what: "installing signal handlers", cause };
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let period = self.options.stats.map_or(NEVER, |seconds| Duration::from_secs(u64::from(seconds)));
        let mut stats = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = look.tick() => self.look().await,
                _ = stats.tick() => self.print(),
            }
        }
    }

    /// Looks whether all is as it should be, and mends it where it can.
    async fn look(&mut self) {
        let outcome = self.mend().await;
        if let Err(DecapError::Netlink(error)) = &outcome {
            self.netlink.reopen_after(error);
        }
        let trouble = outcome.err().map(|error| error.to_string());
        if self.trouble != trouble {
            if let Some(trouble) = &trouble {
                tracing::error!("{trouble}");
            } else {
                tracing::info!("{}: all is well again", self.options.interface);
            }
            self.trouble = trouble;
        }
    }

    async fn mend(&mut self) -> Result<(), DecapError> {
        let name = &self.options.interface;
        // Where the kernel does not say, the program stays as it is.
        let present = self.netlink.find_link(name).await?;
        let is_ours = |link: &Link| {
            let (index, id) = (link.index, link.xdp.map(|xdp| xdp.program_id));
            self.attached.is_some_and(|(_, at, program)| at == index && Some(program) == id)
        };
        let link = match present {
            Some(link) if is_ours(&link) => link,
            _ => {
                // An interface that went and came back is a new one; its link went with it.
                self.decapsulator.detach();
                self.attached = None;
                let link = free_interface(&self.netlink, name).await?;
                self.attach(&link)?;
                link
            }
        };
        self.follow_addresses(link.index).await
    }

    /// Prints the counters. They are worth no failure: what cannot be read or printed is logged.
    fn print(&self) {
        let counters = match self.decapsulator.counters() {
            Ok(counters) => counters,
            Err(error) => return tracing::error!("{error}"),
        };
        let text = if self.options.json {
            let mode = self.attached.map(|(attached, ..)| attached.name());
            let report = Report::new(&self.options.interface, mode, &counters);
            serde_json::to_string(&report).map(|line| line + "\n").unwrap_or_default()
        } else {
            counters.table()
        };
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            tracing::warn!("the counters could not be printed: {error}");
        }
    }
}
