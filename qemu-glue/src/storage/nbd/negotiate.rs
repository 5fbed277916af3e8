//! NBD's fixed newstyle handshake, up to transmission.
//!
//! ```text
//! server  8 NBDMAGIC, 8 IHAVEOPT, 2 flags
//! client  4 flags
//! client  8 IHAVEOPT, 4 option (GO), 4 length: 4 length of the name, name, 2 count, 2 wish each
//! server  8 magic, 4 option, 4 kind, 4 length, data     INFO*, then ACK or an error
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::storage::address::Export;
use crate::storage::error::StorageError;

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// `NBD_FLAG_FIXED_NEWSTYLE` and `NBD_FLAG_C_FIXED_NEWSTYLE`.
const FIXED_NEWSTYLE: u16 = 1;
/// `NBD_FLAG_NO_ZEROES` and `NBD_FLAG_C_NO_ZEROES`.
const NO_ZEROES: u16 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
/// Set in the kinds of reply that are errors.
const REPLY_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;
/// `NBD_FLAG_CAN_MULTI_CONN`: several connections see the same disk.
const CAN_MULTI_CONN: u16 = 1 << 8;
/// Longest read that a server must serve when it names no limit.
const DEFAULT_LONGEST: usize = 32 << 20;
/// Longest reply to an option that a sane server sends.
const MAX_REPLY_BYTES: usize = 8 << 10;

/// The server's description of the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExportInfo {
    /// Length in bytes.
    pub(super) length: u64,
    /// Whether several connections may be used.
    pub(super) several_connections: bool,
    /// Most bytes of one read.
    pub(super) longest_read: usize,
    /// Reads must be multiples of it, in bytes.
    pub(super) smallest_read: u32,
}

/// Brings `stream` to transmission on `export`.
pub(super) async fn negotiate<S>(
    stream: &mut S,
    export: &Export,
) -> Result<ExportInfo, StorageError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |source| StorageError::Connect { server: export.server.to_string(), source };
    let strange = |what: &str| StorageError::Protocol {
        server: export.server.to_string(),
        what: what.to_owned(),
    };
    let (magic, style) =
        (stream.read_u64().await.map_err(lost)?, stream.read_u64().await.map_err(lost)?);
    if magic != MAGIC || style != OPTION_MAGIC {
        return Err(strange("another greeting"));
    }
    let flags = stream.read_u16().await.map_err(lost)?;
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(strange("only the old newstyle"));
    }
    let mut words = u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes().to_vec();
    words.extend(go(&export.name));
    stream.write_all(&words).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;

    let mut facts = None;
    let mut longest_read = DEFAULT_LONGEST;
    let mut smallest_read = 1;
    loop {
        let (kind, data) = reply(stream).await.map_err(lost)?.ok_or_else(|| strange("no reply"))?;
        match (kind, &*data) {
            (REPLY_ACK, _) => break,
            (REPLY_INFO, [a, b, info @ ..]) => match (u16::from_be_bytes([*a, *b]), info) {
                (INFO_EXPORT, [length @ .., f, g]) if length.len() == 8 => {
                    facts = length
                        .first_chunk()
                        .map(|length| (u64::from_be_bytes(*length), u16::from_be_bytes([*f, *g])));
                }
                (INFO_BLOCK_SIZE, &[a, b, c, d, _, _, _, _, i, j, k, l]) => {
                    smallest_read = u32::from_be_bytes([a, b, c, d]).max(1);
                    let longest = u32::from_be_bytes([i, j, k, l]);
                    longest_read = usize::try_from(longest).unwrap_or(usize::MAX);
                }
                // Others are for other clients.
                _ => {}
            },
            (kind, text) if kind & REPLY_ERROR != 0 => {
                return Err(StorageError::Export {
                    server: export.server.to_string(),
                    export: export.name.clone(),
                    reason: refusal(kind, text),
                });
            }
            _ => return Err(strange("an unknown reply")),
        }
    }
    let (length, flags) = facts.ok_or_else(|| strange("no length of the export"))?;
    let several_connections = flags & CAN_MULTI_CONN != 0;
    Ok(ExportInfo { length, several_connections, longest_read, smallest_read })
}

/// The option `NBD_OPT_GO`, with a request for the block sizes.
fn go(name: &str) -> Vec<u8> {
    let name = name.as_bytes();
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut option = OPTION_MAGIC.to_be_bytes().to_vec();
    option.extend(OPTION_GO.to_be_bytes());
    option.extend(length.saturating_add(8).to_be_bytes());
    option.extend(length.to_be_bytes());
    option.extend(name);
    option.extend(1_u16.to_be_bytes());
    option.extend(INFO_BLOCK_SIZE.to_be_bytes());
    option
}

/// A reply's kind and data; `None` when it is no reply to our option.
async fn reply<S>(stream: &mut S) -> io::Result<Option<(u32, Box<[u8]>)>>
where
    S: AsyncRead + Unpin,
{
    let (magic, option) = (stream.read_u64().await?, stream.read_u32().await?);
    let (kind, length) = (stream.read_u32().await?, stream.read_u32().await?);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if magic != REPLY_MAGIC || option != OPTION_GO || length > MAX_REPLY_BYTES {
        return Ok(None);
    }
    let mut data = vec![0; length].into_boxed_slice();
    stream.read_exact(&mut data).await?;
    Ok(Some((kind, data)))
}

/// The server's reason, in its own words when it has some.
fn refusal(kind: u32, text: &[u8]) -> String {
    let name = match kind ^ REPLY_ERROR {
        1 => "it does not know `NBD_OPT_GO`",
        2 => "its policy forbids it",
        3 => "it finds the request invalid",
        5 => "it wants TLS",
        6 => "it has no such export",
        7 => "it is shutting down",
        _ => "an error",
    };
    let words: String =
        String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect();
    if words.is_empty() { name.to_owned() } else { format!("{name} ({words})") }
}
