//! What the project uses of a machine, and the package of each.
//!
//! Role: tables of names; read by `present`, `plan` and `install`. Imports nothing of ours.
//! Always holds: nothing is installed that is not named here.

/// What a part is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// To build `lb-ebpf`: needed by every build.
    Toolchain,
    /// To run the lab.
    Lab,
    /// By `cargo xtask test` alone.
    Test,
}

impl Group {
    /// Heading of the group.
    pub fn title(self) -> &'static str {
        match self {
            Self::Toolchain => "eBPF toolchain",
            Self::Lab => "lab tools",
            Self::Test => "test tools",
        }
    }
}

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// What needs it.
    pub group: Group,
    /// The program.
    pub program: &'static str,
    /// The package.
    pub package: &'static str,
    /// What it is for.
    pub why: &'static str,
}

const fn tool(group: Group, program: &'static str, package: &'static str, why: &'static str) -> Tool {
    Tool { group, program, package, why }
}

/// Programs that are used as they are.
pub const TOOLS: [Tool; 13] = [
    tool(Group::Toolchain, "cc", "gcc", "links what cargo compiles, and compiles the C of the TLS library"),
    tool(Group::Lab, "ip", "iproute2", "namespaces, links and addresses of the lab"),
    tool(Group::Lab, "ethtool", "ethtool", "turns checksum offload off in the lab"),
    tool(Group::Lab, "ping", "iputils-ping", "asks whether a host of the lab answers"),
    tool(Group::Lab, "sysctl", "procps", "forwarding and ARP settings of the lab"),
    tool(Group::Test, "nginx", NGINX_PACKAGE, "real web servers behind the VIP (no service is started)"),
    tool(
        Group::Test,
        "mariadbd",
        "mariadb-server-core",
        "real databases behind the VIP (it brings no service)",
    ),
    tool(Group::Test, "mariadb", "mariadb-client-core", "the databases' client"),
    tool(Group::Test, "wrk", "wrk", "load on the VIP"),
    tool(Group::Test, "curl", "curl", "single requests to the VIP"),
    tool(Group::Test, "traceroute", "traceroute", "the way to the VIP, hop by hop"),
    tool(Group::Test, "tcpdump", "tcpdump", "packets on a link of the lab"),
    tool(Group::Test, "bpftool", "bpftool", "shows what is loaded and pinned"),
];

/// Brings a service of its own, which set-up keeps from starting.
pub const NGINX_PACKAGE: &str = "nginx-light";

/// Debian's compiler with `core` for the eBPF target.
pub const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// Packages that Debian's compiler conflicts with; set-up removes nothing, so it then takes the other way.
pub const COMPILER_CONFLICTS: [&str; 2] = ["rustc", "rustup"];

/// The LLVM of Debian's compiler: bpf-linker must be built on the same one.
pub const LLVM_PACKAGES: [&str; 2] = ["llvm-22-dev", "libpolly-22-dev"];

/// Where `LLVM_PACKAGES` are installed.
pub const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Feature of bpf-linker for that LLVM.
pub const LINKER_FEATURE: &str = "llvm-22";

/// Version of bpf-linker that was tried.
pub const LINKER_VERSION: &str = "^0.13";

/// Debian's formatter, for a cargo that is Debian's.
pub const RUSTFMT_PACKAGE: &str = "rustfmt-web";

/// Every package that may be asked for.
pub fn all_packages() -> Vec<&'static str> {
    let mut packages: Vec<&str> = TOOLS.iter().map(|tool| tool.package).collect();
    packages.extend(COMPILER_PACKAGES);
    packages.extend(LLVM_PACKAGES);
    packages.push(RUSTFMT_PACKAGE);
    packages
}
