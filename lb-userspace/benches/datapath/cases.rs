//! What is measured.

use lb_common::abi::{ForwardMode, Phase};

/// One line of the bench.
pub struct Case {
    /// Name of the mode.
    pub mode: &'static str,
    /// Its number.
    pub number: ForwardMode,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// How many flows take turns; a power of two.
    pub flows: u32,
    /// Phase of all slots. Unless it is stable, all flows are remembered.
    pub phase: Phase,
}

/// Flow counts that a line is measured at.
const FLOWS: [u32; 3] = [1, 65_536, 524_288];

/// Every line.
pub fn cases() -> Vec<Case> {
    let modes =
        [("nat", ForwardMode::Nat), ("dsr-l2", ForwardMode::DsrL2), ("dsr-ipip", ForwardMode::DsrIpip)];
    let lines = [false, true].into_iter().flat_map(|v6| modes.map(|(mode, number)| (mode, number, v6)));
    let stable = lines.flat_map(|(mode, number, v6)| {
        FLOWS.map(|flows| Case { mode, number, v6, flows, phase: Phase::Stable })
    });
    let changing = [Phase::Learning, Phase::Tracked].into_iter().flat_map(|phase| {
        FLOWS.map(|flows| Case { mode: "nat", number: ForwardMode::Nat, v6: false, flows, phase })
    });
    stable.chain(changing).collect()
}

impl Case {
    /// Name of the phase.
    pub const fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Stable => "stable",
            Phase::Learning => "learning",
            Phase::Tracked => "tracked",
            Phase::Settling => "settling",
        }
    }
}
