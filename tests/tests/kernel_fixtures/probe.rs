//! Questions to the kernel, of which the answers are known.

use anyhow::ensure;
use aya::maps::MapType;
use lb_userspace::dataplane::kernel::probe::{
    ATTACH_XDP, has_fragments, has_links, is_mmapable, takes_batches,
};

/// An attach type that an XDP program never has: `BPF_CGROUP_INET_INGRESS`.
const OF_ANOTHER_KIND: u32 = 0;

/// An attach type that no kernel has.
const OF_NO_KERNEL: u32 = 60_000;

/// Asks for things that are there and for things that no kernel has.
pub fn answers_are_right() -> anyhow::Result<()> {
    ensure!(is_mmapable(MapType::Array)?, "arrays");
    ensure!(!is_mmapable(MapType::Hash)?, "hash maps");
    ensure!(takes_batches(MapType::LruHash)?, "LRU hash maps");
    ensure!(!takes_batches(MapType::DevMapHash)?, "hash maps of devices");
    ensure!(has_links(ATTACH_XDP)?, "XDP links");
    ensure!(has_fragments()?, "packets of several buffers, which the kernels that are tested all have");
    for attach_type in [OF_ANOTHER_KIND, OF_NO_KERNEL] {
        ensure!(!has_links(attach_type)?, "links of type {attach_type}");
    }
    Ok(())
}
