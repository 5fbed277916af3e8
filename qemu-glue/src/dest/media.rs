//! The storage behind the media that the source names.

use std::error::Error as _;
use std::time::Duration;

use foreign::Text;
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;
use crate::channel::{MAX_MEDIA, MAX_MEDIUM_BYTES};
use crate::guest::disks::{self, Disk};
use crate::set::ZERO_MEDIUM;
use crate::storage::{Address, Storage};

/// A medium's storage by the operator's word: name as the source has it, and address.
pub type Override = (String, Address);

/// All media are open by then, or left out: the source waits for the answer to its offer.
const LIMIT: Duration = Duration::from_secs(60);

/// The set's media, and the indices of those that cannot be read, with the reason.
pub(super) type Opened = (Vec<Option<Storage>>, Vec<(u16, Text)>);

/// Opens the media one after the other, the operator's words before what QEMU's own disks are. That of zero
/// pages is none, and is not left out either.
///
/// # Errors
/// [`Refusal::NoMedium`] when there are media and none can be read; [`Refusal::Media`] when there are more,
/// or longer names, than an honest source offers.
pub(super) async fn open(
    media: &[String],
    overrides: &[Override],
    disks: &[Disk],
) -> Result<Opened, Refusal> {
    if media.len() > MAX_MEDIA || media.iter().any(|name| name.len() > MAX_MEDIUM_BYTES) {
        return Err(Refusal::Media);
    }
    let end = Instant::now() + LIMIT;
    let mut storages = Vec::with_capacity(media.len());
    let mut left_out = Vec::new();
    for (index, medium) in (0..).zip(media) {
        let late = |_| Err(format!("not all disks were open within {} s", LIMIT.as_secs()));
        let storage = timeout_at(end, one(medium, overrides, disks)).await.unwrap_or_else(late);
        match storage {
            Err(_) if medium == ZERO_MEDIUM => storages.push(None),
            Ok(storage) => {
                log::info!(
                    "{} is {} ({})",
                    foreign::shown(medium),
                    storage.address(),
                    storage.manner()
                );
                storages.push(Some(storage));
            }
            Err(reason) => {
                log::warn!("{} cannot be read: {reason}", foreign::shown(medium));
                left_out.push((index, reason.into()));
                storages.push(None);
            }
        }
    }
    if !left_out.is_empty() && storages.iter().all(Option::is_none) {
        let reasons = left_out.iter().filter_map(|(index, reason)| {
            let medium = media.get(usize::from(*index))?;
            Some(format!("{}: {reason}", foreign::shown(medium)))
        });
        return Err(Refusal::NoMedium(reasons.collect::<Vec<_>>().join("; ")));
    }
    Ok((storages, left_out))
}

async fn one(medium: &str, overrides: &[Override], disks: &[Disk]) -> Result<Storage, String> {
    let told = overrides.iter().find(|(name, _)| name == medium);
    let address = match told {
        Some((_, address)) => address.clone(),
        None => address(medium, disks)?,
    };
    Storage::open(&address).await.map_err(|error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

/// Where QEMU's own disk of that name is.
fn address(medium: &str, disks: &[Disk]) -> Result<Address, String> {
    let disk = disks::find(disks, medium);
    let disk = disk.ok_or("QEMU here has no disk of that name, or several")?;
    let uri = disk.source.uri();
    let uri = uri.ok_or_else(|| format!("disk `{}` is neither raw nor NBD", disk.device))?;
    uri.parse().map_err(|error: crate::storage::AddressError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(media: Vec<String>) -> Refusal {
        open(&media, &[], &[]).await.unwrap_err()
    }

    #[tokio::test]
    async fn no_offer_has_many_media_or_long_names() {
        let many = vec!["serial:a".to_owned(); MAX_MEDIA + 1];
        assert!(matches!(refused(many).await, Refusal::Media));
        assert!(matches!(refused(vec!["x".repeat(257)]).await, Refusal::Media));
        let most = vec!["y".repeat(MAX_MEDIUM_BYTES); MAX_MEDIA];
        assert!(matches!(refused(most).await, Refusal::NoMedium(_)));
    }
}
