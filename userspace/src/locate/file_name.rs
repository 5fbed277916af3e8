//! The character set in which the server names files: `filename` (strings/ctype-utf8.c).
//!
//! ```text
//! 0-9 A-Z a-z _     themselves
//! some 1,500 letters   `@` and two characters, by a table
//! any other         `@` and four lower-case hexadecimal digits: the UTF-16 unit
//! ```
//!
//! The table was read out of a server: `SELECT HEX(CONVERT(CONVERT(x USING filename) USING binary))` of
//! every character of the first plane; a test does so again with each server (tests/locate/names.rs).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::LazyLock;

/// Reads a name as its owner wrote it. What is no name of this character set stays as it is; what ends a
/// partition's name (`#P#`, `#SP#`, in lower case since 8.0) is no part of a name and stays, too.
#[must_use]
pub fn decode_file_name(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let mut decoded = String::with_capacity(name.len());
    let mut rest = &*name;
    while let Some((plain, code)) = rest.split_once('@') {
        decoded.push_str(plain);
        let (character, length) = letter(code).or_else(|| unit(code)).unwrap_or(('@', 0));
        decoded.push(character);
        rest = code.get(length..).unwrap_or_default();
    }
    decoded + rest
}

/// A letter of the table, and how many characters stood for it.
fn letter(code: &str) -> Option<(char, usize)> {
    static LETTERS: LazyLock<HashMap<[u8; 2], char>> = LazyLock::new(|| {
        let rows = ROWS.iter().flat_map(|&(first, codes)| {
            let codes = codes.as_bytes().chunks_exact(2).zip(first..);
            codes.filter_map(|(code, number)| {
                Some((<[u8; 2]>::try_from(code).ok()?, char::from_u32(number)?))
            })
        });
        rows.collect()
    });
    let code: [u8; 2] = code.as_bytes().get(..2)?.try_into().ok()?;
    Some((*LETTERS.get(&code)?, 2))
}

/// A UTF-16 unit in hexadecimal, and its length.
fn unit(code: &str) -> Option<(char, usize)> {
    let digits = code.get(..4)?;
    let hexadecimal = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let number = hexadecimal.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
    Some((char::from_u32(number)?, 4))
}

/// The first character of a run, and two characters for each one of it.
const ROWS: &[(u32, &str)] = &[
    (0x00c0, "0G0H0I0J0K0L0M0N0O0P0Q0R0S0T0U0V0W0X0Y0Z1G1H1I"),
    (0x00d8, "1K1L1M1N1O1P1Q1j0g0h0i0j0k0l0m0n0o0p0q0r0s0t0u0v0w0x0y0z1g1h1i"),
    (0x00f8, "1k1l1m1n1o1p1q1r1S1s1T1t1U1u1V1v1W1w1X1x1Y1y1Z1z2G2g2H2h2I2i2J2j2K2k2L2l"),
    (0x011c, "2M2m2N2n2O2o2P2p2Q2q2R2r2S2s2T2t2U2u2V2v"),
    (0x0131, "2w2X2x2Y2y2Z2z3g3H3h3I3i3J3j3K3k3L3l3M3m3N3n3O3o3p3Q3q3R3r3S3s3T3t3U3u3V"),
    (0x0155, "3v3W3w3X3x3Y3y3Z3z4G4g4H4h4I4i4J4j4K4k4L4l4M4m4N4n4O4o4P4p4Q4q4R4r4S4s1R"),
    (0x0179, "4T4t4U4u4V4v4wgaQfHahaIaiaRfJajaTfUfKakalaZbWfYfMamaJgMgnaSgRgOaoapaqaYg"),
    (0x019d, "HhraKhSasaTataUauaVhVavaYhwaxaYayaJiZazaLiMiGbgbHbhbTiIbibjbkbNbnbmb"),
    (0x01c4, "Ob"),
    (0x01c6, "obPb"),
    (0x01c9, "pbQb"),
    (0x01cc, "qbRbrbSbsbTbtbUbubVbvbWbwbXbxbYbybzbGcgcHchcIcicJcjcKckcLclcMcmcNcncOcoc"),
    (0x01f0, "pcQc"),
    (0x01f3, "qcRcrcNa"),
    (0x01f8, "ScscTctcUcucVcvcWcwcXcxcYcycZczcGdgdHdhdIdidJdjdKdkdLdldMdmdNdndOdodPdpd"),
    (0x021c, "QdqdRdrdRasdTdtdUdudVdvdWdwdXdxdYdydZdzdGegeHeheiejekelemeneOePepePaQere"),
    (0x0240, "seVi"),
    (0x0250, "nfofpfqfrfsftfufvfwfxfyfzfgghgigjgkglgmgngogpgqgrgsgtgugvgwgxgygzgghhhih"),
    (0x0274, "jhkhlhmhnhohphqhrhshthuhvhwhxhyhzhgihiiijikiliminioipiqirisitiuiviwixiyi"),
    (0x0298, "zigjhjijjjkjljmjnjojpjqjrjsjtjujvjwjxjyjzjgkhkik"),
    (0x0386, "6G"),
    (0x0388, "6H6I6J"),
    (0x038c, "7S"),
    (0x038e, "7T7U5y6L7W6N6O6P6Q6R7X6T8W6V6W6X6Y6Z8I7H"),
    (0x03a3, "8Y7K7L8H7N7O7P7Q7R6g6h6i6j6k6l6m6n6o6p6q6r6s6t6u6v6w6x6y6z7g7h7i7j7k7l7m"),
    (0x03c7, "7n7o7p7q7r7s7t7u"),
    (0x03d0, "7w7x7Y7Z8G8h8i8j"),
    (0x03d9, "8k8L8l8M8m8N8n8O8o8P8p8Q8q8R8r8S8s8T8t8U8u8V8v8w8x8y8z"),
    (0x03f5, "9g9h"),
    (0x03f8, "9i"),
    (0x03fb, "9j9k9L9M9NS1T1U1V1W1X1Y1Z1G2H2I2J2K2L2M2N2G0H0I0J0K0L0M0N0O0P0Q0R0S0T0U0"),
    (0x041f, "V0W0X0Y0Z0G1H1I1J1K1L1M1N1O1P1Q1R1g0h0i0j0k0l0m0n0o0p0q0r0s0t0u0v0w0x0y0"),
    (0x0443, "z0g1h1i1j1k1l1m1n1o1p1q1r1s1t1u1v1w1x1y1z1g2h2i2j2k2l2m2n2O2o2P2p2Q2q2R2"),
    (0x0467, "r2S2s2T2t2U2u2V2v2W2w2X2x2Y2y2Z2z2G3g3H3h3I3i3J3j3K3k3"),
    (0x048a, "M3m3N3n3O3o3P3p3Q3q3R3r3S3s3T3t3U3u3V3v3W3w3X3x3Y3y3Z3z3G4g4H4h4I4i4J4j4"),
    (0x04ae, "K4k4L4l4M4m4N4n4O4o4P4p4Q4q4R4r4S4s4T4U4u4V4v4W4w4X4x4Y4y4Z4z4G5g5"),
    (0x04d0, "I5i5J5j5K5k5L5l5M5m5N5n5O5o5P5p5Q5q5R5r5S5s5T5t5U5u5V5v5W5w5X5x5Y5y5Z5z5"),
    (0x04f4, "G6g6H6h6I6i6"),
    (0x0500, "P6p6Q6q6R6r6S6s6T6t6U6u6V6v6W6w6"),
    (0x0531, "H7I7J7K7L7M7N7O7P7Q7R7S7T7U7V7W7X7Y7Z7G8H8I8J8K8L8M8N8O8P8Q8R8S8T8U8V8W8"),
    (0x0555, "X8"),
    (0x0561, "h7i7j7k7l7m7n7o7p7q7r7s7t7u7v7w7x7y7z7g8h8i8j8k8l8m8n8o8p8q8r8s8t8u8v8w8"),
    (0x0585, "x8"),
    (0x1e00, "GlglHlhlIlilJljlKlklLlllMlmlNlnlOlolPlplQlqlRlrlSlslTltlUlulVlvlWlwlXlxl"),
    (0x1e24, "YlylZlzlGmgmHmhmImimJmjmKmkmLmlmMmmmNmnmOmomPmpmQmqmRmrmSmsmTmtmUmumVmvm"),
    (0x1e48, "WmwmXmxmYmymZmzmGngnHnhnIninJnjnKnknLnlnMnmnNnnnGponPnpnQnqnRnrnSnsnTntn"),
    (0x1e6c, "UnunVnvnWnwnXnxnYnynZnznGogoHohoIoioJojoKokoLoloMomoNonoOoooPopoQoqoRoro"),
    (0x1e90, "SosoTotoUouovowoxoyozogp"),
    (0x1ea0, "LplpMpmpNpnpOpopPpppQpqpRprpSpspTptpUpupVpvpWpwpXpxpYpypZpzpGqgqHqhqIqiq"),
    (0x1ec4, "JqjqKqkqLqlqMqmqNqnqOqoqPqpqQqqqRqrqSqsqTqtqUquqVqvqWqwqXqxqYqyqZqzqGrgr"),
    (0x1ee8, "HrhrIrirJrjrKrkrLrlrMrmrNrnrOrorPrpr"),
    (0x1f00, "gshsisjskslsmsnsGsHsIsJsKsLsMsNsospsqsrsssts"),
    (0x1f18, "OsPsQsRsSsTs"),
    (0x1f20, "yszsgthtitjtktltYsZsGtHtItJtKtLtmtntotptqtrtstttMtNtOtPtQtRtStTtutvtwtxt"),
    (0x1f44, "ytzt"),
    (0x1f48, "UtVtWtXtYtZt"),
    (0x1f50, "kulumunuoupuquru"),
    (0x1f59, "Lu"),
    (0x1f5b, "Nu"),
    (0x1f5d, "Pu"),
    (0x1f5f, "RuwuxuyuzugvhvivjvWuXuYuZuGvHvIvJvkvlvmvnvovpvqvrvsvtvuvvvwvxv"),
    (0x1f80, "gwhwiwjwkwlwmwnwGwHwIwJwKwLwMwNwowpwqwrwswtwuwvwOwPwQwRwSwTwUwVwwwxwywzw"),
    (0x1fa4, "gxhxixjxWwXwYwZwGxHxIxJxkxlxmxnxox"),
    (0x1fb6, "qxrxKxLxKvLvNx"),
    (0x1fc2, "sxtxux"),
    (0x1fc6, "wxxxMvNvOvPvTx"),
    (0x1fd0, "yxzxgyhy"),
    (0x1fd6, "kylyYxZxQvRv"),
    (0x1fe0, "nyoypyqyrysytyuyNyOyUvVvSy"),
    (0x1ff2, "xyyy"),
    (0x1ff6, "hzizSvTvWvXvYy"),
    (0x2160, "G9H9I9J9K9L9M9N9O9P9Q9R9S9T9U9V9g9h9i9j9k9l9m9n9o9p9q9r9s9t9u9v9"),
    (0x24b6, "@A@B@C@D@E@F@G@H@I@J@K@L@M@N@O@P@Q@R@S@T@U@V@W@X@Y@Z@a@b@c@d@e@f@g@h@i@j"),
    (0x24da, "@k@l@m@n@o@p@q@r@s@t@u@v@w@x@y@z"),
    (0xff21, "A@B@C@D@E@F@G@H@I@J@K@L@M@N@O@P@Q@R@S@T@U@V@W@X@Y@Z@"),
    (0xff41, "a@b@c@d@e@f@g@h@i@j@k@l@m@n@o@p@q@r@s@t@u@v@w@x@y@z@"),
];

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_all_kinds_are_read() {
        let cases = [
            ("orders", "orders"),
            ("a@002db@4e2d", "a-b\u{4e2d}"),
            ("caf@0p", "caf\u{e9}"),
            ("@P1@g0", "\u{42d}\u{430}"),
            ("t#P#p0", "t#P#p0"),
            ("t#p#@0p#sp#s@002d", "t#p#\u{e9}#sp#s-"),
            ("a@0024b", "a$b"),
            ("@", "@"),
            ("a@b", "a@b"),
            ("@d800", "@d800"),
            ("@\u{e9}\u{e9}", "@\u{e9}\u{e9}"),
            ("@00", "@00"),
            ("@002", "@002"),
            ("@002D", "@002D"),
        ];
        for (name, decoded) in cases {
            assert_eq!(decode_file_name(OsStr::new(name)), decoded, "{name}");
        }
        let letters: usize = ROWS.iter().map(|(_, codes)| codes.len() / 2).sum();
        assert_eq!(letters, 1510);
    }

    proptest! {
        /// Any name decodes to something, and a name without `@` to itself.
        #[test]
        fn any_name_decodes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let decoded = decode_file_name(OsStr::from_bytes(&bytes));
            if !bytes.contains(&b'@') {
                prop_assert_eq!(decoded, String::from_utf8_lossy(&bytes));
            }
        }
    }
}
