//! Vectors, the other implementation as oracle, and what a stranger or a bad network can do.

use rand::SeedableRng;
use rand::rngs::StdRng;

pub(super) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
