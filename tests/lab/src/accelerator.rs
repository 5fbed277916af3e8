//! How guest code runs.

/// QEMU's accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Accelerator {
    /// By translation: works everywhere
    Tcg,
    /// By the processor
    Kvm,
}

impl Accelerator {
    /// Value of `-accel`.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Tcg => "tcg,thread=multi",
            Self::Kvm => "kvm",
        }
    }
}
