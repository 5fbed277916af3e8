//! A hostile profile, compiled and used on hostile descriptors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbols::profile::Profile;
use userspace::field_layout::FieldLayout;

/// Bytes of an input that are the descriptor, as `layout_seeds` writes it; the profile is the rest.
const DESCRIPTOR: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    let (descriptor, profile) = bytes.split_at(bytes.len().min(DESCRIPTOR));
    let Ok(profile) = serde_json::from_slice::<Profile>(profile) else { return };
    if let Ok(layout) = FieldLayout::compile(&profile) {
        let _ = layout.block.page_state(descriptor);
        let _ = layout.block.first_failure(descriptor);
        let _ = layout.block.frame.read_signed(descriptor);
        let _ = layout.for_probes();
    }
});
