//! Tables of the fixtures' world that are filled through their pins: ranges, networks, links, and settings.

use anyhow::ensure;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::abi::{
    ABI_VERSION, ANSWER_KINDS, Address, Link, NetworkValue, PortsKey, RangeValue, RecordRate,
    ReverseRangeValue, Settings, names,
};
use lb_tests::fixtures::{CAPACITY, LOOKUPS, World};
use std::path::Path;

/// Keys and values, as aya takes them.
type PortsWords = [u64; size_of::<PortsKey>() / 8];
type RangeWords = [u64; size_of::<RangeValue>() / 8];
type ReverseWords = [u32; size_of::<ReverseRangeValue>() / 4];
type NetworkWords = [u32; size_of::<NetworkValue>() / 4];
type LinkWords = [u32; size_of::<Link>() / 4];
type SettingsWords = [u64; size_of::<Settings>() / 8];

fn pin(bpffs: &Path, name: &str) -> anyhow::Result<MapData> {
    Ok(MapData::from_pin(bpffs.join(format!("v{ABI_VERSION}")).join(name))?)
}

/// Puts what the world has besides frontends, backends and flows into the maps.
pub fn fill(bpffs: &Path, world: &World) -> anyhow::Result<()> {
    let mut ranges: LpmTrie<MapData, PortsWords, RangeWords> =
        Map::LpmTrie(pin(bpffs, names::RANGES)?).try_into()?;
    for (bits, key, value) in &world.ranges {
        ranges.insert(&Key::new(*bits, bytemuck::cast(*key)), bytemuck::cast::<_, RangeWords>(*value), 0)?;
    }
    let mut networks: LpmTrie<MapData, Address, NetworkWords> =
        Map::LpmTrie(pin(bpffs, names::NETWORKS)?).try_into()?;
    for (bits, address, value) in &world.networks {
        networks.insert(&Key::new(*bits, *address), bytemuck::cast::<_, NetworkWords>(*value), 0)?;
    }
    let mut reverse: LpmTrie<MapData, PortsWords, ReverseWords> =
        Map::LpmTrie(pin(bpffs, names::REVERSE_RANGES)?).try_into()?;
    for (bits, key, value) in &world.reverse_ranges {
        reverse.insert(
            &Key::new(*bits, bytemuck::cast(*key)),
            bytemuck::cast::<_, ReverseWords>(*value),
            0,
        )?;
    }
    let mut links: HashMap<MapData, u32, LinkWords> = Map::HashMap(pin(bpffs, names::LINKS)?).try_into()?;
    for (ifindex, link) in &world.links {
        links.insert(ifindex, bytemuck::cast::<_, LinkWords>(*link), 0)?;
    }
    Ok(())
}

/// Sets what is looked for, and how many answers the node may send: more than there are fixtures, or none.
pub fn set_answers(bpffs: &Path, answers: bool) -> anyhow::Result<()> {
    let mut array: Array<MapData, SettingsWords> = Map::Array(pin(bpffs, names::SETTINGS)?).try_into()?;
    let settings: Settings = bytemuck::cast(array.get(&0, 0)?);
    ensure!(settings.abi_version == ABI_VERSION, "the settings are there");
    let rate = if answers { CAPACITY * 1_000 } else { 0 };
    let answer_rates = [RecordRate { per_second: rate, burst: rate }; ANSWER_KINDS];
    let settings = Settings { answer_rates, lookups: LOOKUPS, ..settings };
    Ok(array.set(0, bytemuck::cast::<_, SettingsWords>(settings), 0)?)
}
