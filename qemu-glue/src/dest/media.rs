//! The storage behind the media that the source names.

use std::error::Error as _;

use futures::future::join_all;

use super::refusal::Refusal;
use crate::guest::disks::{self, Disk};
use crate::set::ZERO_MEDIUM;
use crate::storage::{Address, Storage};

/// A medium's storage by the operator's word: name as the source has it, and address.
pub type Override = (String, Address);

/// The set's media, and the indices of those that cannot be read, with the reason.
pub(super) type Opened = (Vec<Option<Storage>>, Vec<(u16, String)>);

/// Opens the media in their order, the operator's words before what QEMU's own disks are. That of zero
/// pages is none, and is not left out either.
///
/// # Errors
/// [`Refusal::NoMedium`] when there are media and none can be read.
pub(super) async fn open(
    media: &[String],
    overrides: &[Override],
    disks: &[Disk],
) -> Result<Opened, Refusal> {
    let opened = join_all(media.iter().map(|medium| one(medium, overrides, disks))).await;
    let mut storages = Vec::with_capacity(media.len());
    let mut left_out = Vec::new();
    for (index, (storage, medium)) in (0..).zip(opened.into_iter().zip(media)) {
        match storage {
            Err(_) if medium == ZERO_MEDIUM => storages.push(None),
            Ok(storage) => {
                log::info!("{medium} is {} ({})", storage.address(), storage.manner());
                storages.push(Some(storage));
            }
            Err(reason) => {
                log::warn!("{medium} cannot be read: {reason}");
                left_out.push((index, reason));
                storages.push(None);
            }
        }
    }
    if !left_out.is_empty() && storages.iter().all(Option::is_none) {
        let reasons = left_out.iter().filter_map(|(index, reason)| {
            let medium = media.get(usize::from(*index))?;
            Some(format!("{medium}: {reason}"))
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
