//! What the place where the output goes can show.

use std::io::IsTerminal;

use comfy_table::Table;

/// What the place where the output goes can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are wanted.
    pub colour: bool,
    /// Width in characters, where there is one; lines are folded to it.
    pub width: Option<u16>,
}

impl Look {
    /// That of stdout: colours on a terminal only, and not if `NO_COLOR` (no-color.org) is set or `TERM` is `dumb`.
    pub fn of_stdout() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal();
        Self { colour: terminal && !set("NO_COLOR") && !dumb, width: Table::new().width() }
    }
}
