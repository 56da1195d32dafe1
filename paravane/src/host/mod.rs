//! The guests of this host: what [`crate::migration`] does to them.

pub mod checks;
pub mod source;
pub mod target;
pub mod watch;

use std::fs;

use anyhow::{Context, Result};

use crate::link::{Hello, PROTOCOL};

/// How this host introduces itself.
pub fn hello() -> Result<Hello> {
    let read = |path: &str| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        anyhow::Ok(text.trim_end().to_owned())
    };
    Ok(Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        host: read("/proc/sys/kernel/hostname")?,
        boot: read("/proc/sys/kernel/random/boot_id")?,
    })
}
