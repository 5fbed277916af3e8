//! Data directories with very many files.
