//! What is known of the root certificates of this system, in a build with TLS and without.

use std::path::PathBuf;

/// The root certificates of this system.
#[derive(Clone, Debug, Default)]
pub struct SystemRoots {
    /// How many can be used.
    pub usable: usize,
    /// How many cannot.
    pub unusable: usize,
    /// Where they were looked for.
    pub places: Vec<PathBuf>,
    /// What could not be read.
    pub errors: Vec<String>,
}
