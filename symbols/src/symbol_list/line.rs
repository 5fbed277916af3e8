//! One line of `nm` (POSIX.1-2017, "nm", and the form of GNU's): address, type, name.

use crate::addr::LinkAddr;

/// Digits of an address.
const DIGITS: usize = 16;

/// A symbol of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListedSymbol<'l> {
    /// None where the program does not define it.
    pub(super) addr: Option<LinkAddr>,
    pub(super) name: &'l [u8],
}

impl<'l> ListedSymbol<'l> {
    /// Sixteen digits or spaces, a space, a letter or sign, a space, and a name.
    pub(super) fn of(line: &'l [u8]) -> Option<Self> {
        let (addr, rest) = line.split_at_checked(DIGITS)?;
        let (&[b' ', kind, b' '], name) = rest.split_first_chunk::<3>()? else { return None };
        let is_kind = kind.is_ascii_alphabetic() || matches!(kind, b'?' | b'-');
        let is_name = !name.is_empty() && !name.iter().any(u8::is_ascii_control);
        if !is_kind || !is_name {
            return None;
        }
        if addr.iter().all(|byte| *byte == b' ') {
            return Some(Self { addr: None, name });
        }
        // `from_str_radix` would take a sign.
        let digits = addr.iter().all(u8::is_ascii_hexdigit).then_some(addr)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let addr = u64::from_str_radix(digits, 16).ok()?;
        Some(Self { addr: Some(LinkAddr(addr)), name })
    }
}

#[cfg(test)]
mod tests {
    use super::ListedSymbol;
    use crate::addr::LinkAddr;

    #[test]
    fn a_line_of_nm() {
        let of = |line: &'static str| ListedSymbol::of(line.as_bytes());
        let defined = |addr, name: &'static str| {
            Some(ListedSymbol { addr: Some(LinkAddr(addr)), name: name.as_bytes() })
        };
        assert_eq!(of("0000000001830380 d buf_pool"), defined(0x0183_0380, "buf_pool"));
        assert_eq!(of("ffffffffffffffff ? operator new"), defined(u64::MAX, "operator new"));
        assert_eq!(of("                 U free"), Some(ListedSymbol { addr: None, name: b"free" }));
        for wrong in [
            "",
            "1830380 d buf_pool",
            "0000000001830380 d ",
            "0000000001830380  buf_pool",
            "+000000001830380 d buf_pool",
            "000000000183038g d buf_pool",
            "0000000001830380\td buf_pool",
            "0000000001830380 d buf\u{1b}pool",
            "   0000001830380 d buf_pool",
            "0000000001830380 77 buf_pool",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
