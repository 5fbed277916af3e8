//! An eBPF object, made ready to be loaded.
#![expect(unsafe_code, reason = "values of globals are given as their bytes")]

use aya::{Ebpf, EbpfLoader, Pod};
use serde::{Deserialize, Serialize};

/// What is set in an object before its maps are made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ObjectSettings {
    globals: Vec<(String, Vec<u8>)>,
    sizes: Vec<(String, u32)>,
}

impl ObjectSettings {
    /// A global, which the object must have.
    #[must_use]
    pub fn global<T: Pod>(mut self, name: &str, value: &T) -> Self {
        // SAFETY: a `Pod` has no padding, so each of its bytes has a value; they are copied while it is borrowed.
        let bytes =
            unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) };
        self.globals.push((name.to_owned(), Vec::from(bytes)));
        self
    }

    /// Entries of a map, bytes of a ring.
    #[must_use]
    pub fn entries(mut self, map: &str, count: u32) -> Self {
        self.sizes.push((map.to_owned(), count));
        self
    }
}

/// Makes the maps of an object, and loads no program yet.
///
/// # Errors
/// When the object is none, lacks a global, or the kernel refuses a map.
pub fn load(object: &[u8], settings: &ObjectSettings) -> Result<Ebpf, aya::EbpfError> {
    let mut loader = EbpfLoader::new();
    for (name, bytes) in &settings.globals {
        loader.override_global(name, bytes.as_slice(), true);
    }
    for (map, count) in &settings.sizes {
        loader.map_max_entries(map, *count);
    }
    loader.load(object)
}
