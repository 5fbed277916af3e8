//! Colours by meaning; `page/style.css` defines them for light and dark.

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// The migration as QEMU does it by itself.
    Stock,
    /// Poolferry.
    Ours,
    /// Bytes that came over the migration link.
    Network,
    /// Bytes that came from storage.
    Storage,
    /// One of several things without a meaning of their own.
    Other(usize),
}

/// Colours without a meaning of their own, classes `o0` and so on.
const OTHERS: usize = 12;

impl Colour {
    /// The class that carries it.
    pub(crate) fn class(self) -> String {
        match self {
            Self::Stock => "stock".to_owned(),
            Self::Ours => "ours".to_owned(),
            Self::Network => "network".to_owned(),
            Self::Storage => "storage".to_owned(),
            Self::Other(index) => format!("o{}", index % OTHERS),
        }
    }
}
