//! `info mtree -f`: where RAM blocks stand in guest-physical memory.
//!
//! ```text
//! FlatView #1
//!  AS "memory", root: system
//!  AS "cpu-memory-0", root: system
//!  Root memory region: system
//!   0000000000000000-000000000009ffff (prio 0, ram): mem0 KVM
//!   0000000000100000-000000007fffffff (prio 0, ram): mem0 @0000000000100000 KVM
//! ```
//! The same in 7.2, 10.0 and 11.1. Ends are inclusive; `@` is the offset in the region.

/// Plain RAM at consecutive guest-physical addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// First address.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// Name of the memory region.
    pub(super) region: String,
    /// Offset of its first byte in the region.
    pub(super) offset: u64,
}

/// Most ranges that are looked at; VMs have a few dozen.
const MAX_RANGES: usize = 65536;

/// The `ram` ranges of the address space `memory`, by address. Ranges that overlap or run over the
/// highest address are left out.
pub(super) fn parse(text: &str) -> Vec<Range> {
    let mut ranges: Vec<Range> = view(text).filter_map(range).take(MAX_RANGES).collect();
    ranges.sort_by_key(|range| range.start);
    let mut end = 0;
    ranges.retain(|range| {
        let apart = range.start >= end;
        if apart {
            end = range.start + range.bytes;
        }
        apart
    });
    ranges
}

/// Lines of the flat view that the address space `memory` has.
fn view(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().skip_while(|line| !line.trim_start().starts_with("AS \"memory\","));
    lines.take_while(|line| !line.starts_with("FlatView"))
}

fn range(line: &str) -> Option<Range> {
    let (addresses, rest) = line.trim_start().split_once(" (prio ")?;
    let (kind, name) = rest.split_once("): ")?;
    if kind.split_once(", ")?.1 != "ram" {
        return None;
    }
    let (first, last) = addresses.split_once('-')?;
    let (start, last) = (hex(first)?, hex(last)?);
    let bytes = last.checked_sub(start)?.checked_add(1)?;
    start.checked_add(bytes)?;
    let name = name.trim_end();
    let name = name.strip_suffix(" KVM").unwrap_or(name);
    let (region, offset) = match name.rsplit_once(" @") {
        Some((region, offset)) => (region, hex(offset)?),
        None => (name, 0),
    };
    offset.checked_add(bytes)?;
    Some(Range { start, bytes, region: region.to_owned(), offset })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"FlatView #0
 AS "VGA", root: bus master container
 Root memory region: (none)
  No rendered FlatView

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): mem0 KVM
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
  00000000000c0000-00000000000cffff (prio 0, rom): mem0 @00000000000c0000
  0000000000100000-000000007fffffff (prio 0, ram): mem0 @0000000000100000 KVM
  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram
  0000000100000000-000000017fffffff (prio 0, ram): mem0 @0000000080000000 KVM

FlatView #2
 AS "I/O", root: io
  0000000000000000-0000000000000007 (prio 0, ram): dma-chan
"#;

    #[test]
    fn ram_of_the_right_address_space_is_read() {
        let ranges = parse(TEXT);
        let shown: Vec<_> =
            ranges.iter().map(|r| (r.start, r.bytes, r.region.as_str(), r.offset)).collect();
        assert_eq!(
            shown,
            [
                (0, 0xa_0000, "mem0", 0),
                (0x10_0000, 0x7ff0_0000, "mem0", 0x10_0000),
                (0xfd00_0000, 0x100_0000, "vga.vram", 0),
                (1 << 32, 1 << 31, "mem0", 1 << 31),
            ]
        );
    }

    #[test]
    fn ranges_that_lie_are_left_out() {
        let lines = " AS \"memory\", root: system\n\
            0000000000000000-ffffffffffffffff (prio 0, ram): all\n\
            0000000000200000-0000000000100000 (prio 0, ram): backwards\n\
            0000000000100000-00000000001fffff (prio 0, ram): a @ffffffffffffffff\n\
            0000000000100000-00000000001fffff (prio 0, ram): b\n\
            0000000000180000-00000000001fffff (prio 0, ram): c\n";
        let ranges = parse(lines);
        assert_eq!(ranges.len(), 1);
        assert_eq!(ranges[0].region, "b");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "AS \"memory\",\n([0-9a-f]{0,17}-[0-9a-f]{0,17} \\(prio 0, ram\\): m @?[0-9a-f]{0,17}\n){0,4}") {
            let mut end = 0;
            for range in parse(&text) {
                prop_assert!(range.start >= end);
                end = range.start + range.bytes;
            }
        }
    }
}
