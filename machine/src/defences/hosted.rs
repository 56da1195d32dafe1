//! The facts about the simulated processor.

use super::facts::Facts;

/// Nothing is known about the simulated processor.
pub(super) const fn facts() -> Facts {
    Facts::NOTHING
}
