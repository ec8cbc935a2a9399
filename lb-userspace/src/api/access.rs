//! Who may connect to the control socket, in words.
//!
//! Role: turns the owner group of the socket into advice. Imports nothing of ours.
//! Always holds: only reads; a group without a name in /etc/group is given by its number.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The group of the superuser, which is no advice to give.
const ROOT_GID: u32 = 0;

/// The group that decides is that of the socket, or of the nearest directory that can be looked at when the way to the
/// socket is closed.
pub(super) fn who_may_connect(socket: &Path) -> String {
    let gid = socket.ancestors().find_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.gid());
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    describe(gid, &groups)
}

fn describe(gid: Option<u32>, groups: &str) -> String {
    match gid {
        None | Some(ROOT_GID) => "root".to_owned(),
        Some(gid) => match group_name(gid, groups) {
            Some(name) => format!("root or group {name}"),
            None => format!("root or group {gid}"),
        },
    }
}

/// The name of a group in the text of /etc/group, see group(5).
fn group_name(gid: u32, groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?;
        (number.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "root:x:0:\nbroken line\nlb:x:990:anna,bert\n";

    #[test]
    fn the_group_is_named_where_it_has_a_name() {
        assert_eq!(describe(Some(990), GROUPS), "root or group lb");
        assert_eq!(describe(Some(991), GROUPS), "root or group 991");
    }

    #[test]
    fn the_superusers_group_is_no_advice() {
        assert_eq!(describe(Some(0), GROUPS), "root");
        assert_eq!(describe(None, GROUPS), "root");
    }
}
