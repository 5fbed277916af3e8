//! `info ramblock`: QEMU's RAM blocks.
//!
//! ```text
//!               Block Name    PSize              Offset               Used              Total
//!                     mem0    4 KiB  0x0000000000000000 0x0000000010000000 0x0000000010000000
//! ```
//! 10.0 and later add the host address and `RO`. Names may hold spaces, so lines are read from the
//! page size on.

use page_number::{MAX_NUMBERED_PAGES, PAGE_BYTES};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockLine {
    /// `RAMBlock.idstr`.
    pub(super) name: String,
    /// Bytes of a page of the backend: 4096, or 2 MiB and more with hugetlbfs.
    pub(super) page_bytes: u64,
    /// Used length in bytes.
    pub(super) used: u64,
}

/// Most blocks that are looked at; VMs have a few dozen.
const MAX_BLOCKS: usize = 4096;

/// The blocks; lines of another form are passed over.
pub(super) fn parse(text: &str) -> Vec<BlockLine> {
    text.lines().filter_map(line).take(MAX_BLOCKS).collect()
}

fn line(text: &str) -> Option<BlockLine> {
    let words: Vec<&str> = text.split_ascii_whitespace().take(64).collect();
    // NAME.. SIZE UNIT 0xOFFSET 0xUSED 0xTOTAL ..
    let at = (2..words.len()).find(|at| {
        unit(words[*at]).is_some() && words.get(at + 1).is_some_and(|word| word.starts_with("0x"))
    })?;
    let page_bytes = words[at - 1].parse::<u64>().ok()?.checked_mul(unit(words[at])?)?;
    let used = hex(words.get(at + 2)?)?;
    // A length beyond what a set can hold is no length.
    let sane = used / PAGE_BYTES <= MAX_NUMBERED_PAGES;
    sane.then(|| BlockLine { name: words[..at - 1].join(" "), page_bytes, used })
}

fn unit(word: &str) -> Option<u64> {
    match word {
        "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let of_7_2 = "              Block Name    PSize              Offset               Used              Total\n                    mem0    4 KiB  0x0000000000000000 0x0000000010000000 0x0000000010000000\n                 pc.bios    4 KiB  0x0000000011060000 0x0000000000040000 0x0000000000040000\n";
        let of_10_0 = "              Block Name    PSize              Offset               Used              Total                HVA  RO\n       /objects/ram-node0    2 MiB  0x0000000000000000 0x0000000010000000 0x0000000010000000 0x00007f5f5fe00000  rw\n";
        let blocks = parse(of_7_2);
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0], BlockLine { name: "mem0".into(), page_bytes: 4096, used: 256 << 20 });
        let blocks = parse(of_10_0);
        assert_eq!(blocks[0].name, "/objects/ram-node0");
        assert_eq!(blocks[0].page_bytes, 2 << 20);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z0-9]{0,4} ){0,3}[0-9]{0,21} (KiB|MiB|GiB|B) (0x[0-9a-f]{0,17} ?){0,4}") {
            parse(&text);
        }
    }
}
