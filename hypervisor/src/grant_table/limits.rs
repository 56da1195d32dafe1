//! Limits on the size of a domain's grant table and maptrack.

use machine::boot::{self, Options};

use super::maptrack;
use crate::limits::Limit;

/// Limits of one domain. Memory is allocated as the tables grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Frames of the grant table.
    pub(super) frames: u32,
    /// Number of grants that can be mapped at a time.
    pub(super) mappings: u32,
}

impl Limits {
    /// The limits from the command line (`gnttab_max_frames=`, `gnttab_max_maptrack_frames=`). They
    /// are the default for a domain and the maximum that the tools can request.
    pub fn of_host() -> Self {
        let (frames, maptrack_frames) = match boot::try_options() {
            Some(options) => (options.grant_frames, options.maptrack_frames),
            None => (Options::default().grant_frames, Options::default().maptrack_frames),
        };
        Self { frames, mappings: maptrack_frames * maptrack::PER_FRAME }
    }

    /// The limits that the tools request: frames of the table, and frames of maptrack records.
    /// `None` requests the maximum.
    ///
    /// # Errors
    /// The limit that the request exceeds. A table without frames is refused as well.
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
    fn requested_limits_are_granted_up_to_the_hosts_limits() {
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
