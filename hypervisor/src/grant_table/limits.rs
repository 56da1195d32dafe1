//! How far a domain's grant table and its record of mappings may grow.

use machine::boot::{self, Options};

use super::maptrack;
use crate::limits::Limit;

/// Limits of one domain. Memory is taken as the tables grow, not for what they may grow to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Frames of the grant table.
    pub(super) frames: u32,
    /// Grants of others that may be mapped at a time.
    pub(super) mappings: u32,
}

impl Limits {
    /// What the command line says (`gnttab_max_frames=`, `gnttab_max_maptrack_frames=`): for
    /// domains of which nothing else is said, and the most that the tools can ask for.
    pub fn of_host() -> Self {
        let (frames, maptrack_frames) = match boot::try_options() {
            Some(options) => (options.grant_frames, options.maptrack_frames),
            None => (Options::default().grant_frames, Options::default().maptrack_frames),
        };
        Self { frames, mappings: maptrack_frames * maptrack::PER_FRAME }
    }

    /// What the tools ask for within these limits: frames of the table, and frames' worth of
    /// mappings; `None` for as many as these limits allow.
    ///
    /// # Errors
    /// The limit that is in the way, if more is asked for than these limits allow, or a table
    /// without frames.
    pub fn within(self, frames: Option<u32>, maptrack_frames: Option<u32>) -> Result<Self, Limit> {
        let frames = frames.unwrap_or(self.frames);
        let mappings = maptrack_frames.map_or(self.mappings, |frames| frames.saturating_mul(maptrack::PER_FRAME));
        if frames == 0 || frames > self.frames {
            Err(Limit::GrantFrames)
        } else if mappings > self.mappings {
            Err(Limit::GrantMappings)
        } else {
            Ok(Self { frames, mappings })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_get_what_they_ask_for_up_to_the_hosts_limits() {
        let host = Limits { frames: 128, mappings: 2048 * maptrack::PER_FRAME };
        assert_eq!(host.within(None, None), Ok(host));
        assert_eq!(host.within(Some(128), Some(2048)), Ok(host));
        assert_eq!(host.within(Some(1), Some(0)), Ok(Limits { frames: 1, mappings: 0 }));
        for frames in [0, 129, u32::MAX] {
            assert_eq!(host.within(Some(frames), None), Err(Limit::GrantFrames));
        }
        for maptrack_frames in [2049, u32::MAX] {
            assert_eq!(host.within(None, Some(maptrack_frames)), Err(Limit::GrantMappings));
        }
    }
}
