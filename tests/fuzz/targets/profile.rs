//! A hostile profile, as a file of the cache or of the operator may be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbols::profile::Profile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(profile) = Profile::from_json(bytes) {
        let _ = (profile.is_complete(), profile.binary.key());
        assert!(profile.sites.values().flatten().count() <= 256, "more sites than any server has");
        let text = serde_json::to_vec(&profile).expect("a profile can be written");
        let again = Profile::from_json(&text).expect("and read again");
        assert_eq!(profile, again);
    }
});
