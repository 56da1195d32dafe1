//! The opened libraries and the functions that are used of them.
#![expect(unsafe_code, reason = "functions of a C library")]

use libloading::Library;

use crate::declarations::{ClaimPages, Close, DomainSave, GetInfoList, OfDomain, Open, Resume};
use crate::error::Error;

/// `libxenctrl`.
pub(crate) struct Control {
    pub(crate) open: Open,
    pub(crate) close: Close,
    pub(crate) get_info_list: GetInfoList,
    pub(crate) pause: OfDomain,
    pub(crate) unpause: OfDomain,
    pub(crate) claim_pages: ClaimPages,
    /// Keeps the functions in memory.
    _library: Library,
}

/// `libxenguest`.
pub(crate) struct Guest {
    pub(crate) save: DomainSave,
    pub(crate) resume: Resume,
    /// Keeps the functions in memory.
    _library: Library,
}

impl Control {
    pub(crate) fn load() -> Result<Self, Error> {
        let library = open("libxenctrl.so.4.17")?;
        Ok(Self {
            open: function(&library, "xc_interface_open")?,
            close: function(&library, "xc_interface_close")?,
            get_info_list: function(&library, "xc_domain_getinfolist")?,
            pause: function(&library, "xc_domain_pause")?,
            unpause: function(&library, "xc_domain_unpause")?,
            claim_pages: function(&library, "xc_domain_claim_pages")?,
            _library: library,
        })
    }
}

impl Guest {
    pub(crate) fn load() -> Result<Self, Error> {
        let library = open("libxenguest.so.4.17")?;
        Ok(Self {
            save: function(&library, "xc_domain_save")?,
            resume: function(&library, "xc_domain_resume")?,
            _library: library,
        })
    }
}

pub(crate) fn open(name: &str) -> Result<Library, Error> {
    // SAFETY: the libraries' initialisers set up the libraries themselves and nothing else.
    unsafe { Library::new(name) }.map_err(|error| Error::Library(error.to_string()))
}

/// A function or variable of the library. The caller gives it the type of the header (LX-1).
pub(crate) fn function<T: Copy>(library: &Library, name: &str) -> Result<T, Error> {
    // SAFETY: LX-1; the callers, all in this crate, take the type from `declarations`.
    let symbol = unsafe { library.get::<T>(name.as_bytes()) };
    symbol.map(|function| *function).map_err(|error| Error::Library(error.to_string()))
}
