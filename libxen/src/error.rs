//! Why a call of a library failed.

use std::{fmt, io};

/// Why a call failed.
#[derive(Debug)]
pub enum Error {
    /// A library, or a function in it, was not found.
    Library(String),
    /// The named call failed.
    Call(&'static str, io::Error),
    /// The named call failed with this status of `libxenlight`.
    Status(&'static str, i32),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error) => write!(formatter, "{error} (Debian: install xen-utils-4.17)"),
            Self::Call(call, error) => write!(formatter, "{call}: {error}"),
            Self::Status(call, status) => write!(formatter, "{call}: status {status}"),
        }
    }
}

impl std::error::Error for Error {}
