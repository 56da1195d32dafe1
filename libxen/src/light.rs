//! `libxenlight`: creating a domain from the configuration of another one.
#![expect(unsafe_code, reason = "calls of a C library")]

use std::ffi::{CString, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};

use libloading::Library;

use crate::declarations::{
    ConfigurationCall, ContextAlloc, ContextFree, CreateLogger, CreateNew, LOG_NOTICE, Preserve, Retrieve, Uuid,
};
use crate::error::Error;
use crate::library::{function, open};

/// Bytes for a `libxl_domain_config`, more than it has.
pub(crate) const CONFIGURATION: usize = 4096;

/// An open `libxenlight`.
pub struct Light {
    context: NonNull<c_void>,
    free: ContextFree,
    initialise: ConfigurationCall,
    dispose: ConfigurationCall,
    retrieve: Retrieve,
    create: CreateNew,
    preserve: Preserve,
    /// Keep the functions in memory.
    _libraries: [Library; 3],
}

/// Space for a configuration, with the alignment of all types of C.
#[repr(C, align(16))]
struct Space([u8; CONFIGURATION]);

/// The configuration of a domain, from which a new one can be made.
pub struct Configuration<'a> {
    space: Box<Space>,
    light: &'a Light,
}

impl Light {
    /// Opens the library; its messages go to standard error.
    pub fn open() -> Result<Self, Error> {
        let (light, log, c) = (open("libxenlight.so.4.17")?, open("libxentoollog.so.1")?, open("libc.so.6")?);
        let create_logger: CreateLogger = function(&log, "xtl_createlogger_stdiostream")?;
        let allocate: ContextAlloc = function(&light, "libxl_ctx_alloc")?;
        let stderr: *const *mut c_void = function(&c, "stderr")?;
        // SAFETY: the C library's variable `stderr` is set before `main`.
        let stderr = unsafe { *stderr };
        // SAFETY: LX-1; the stream is open.
        let logger = unsafe { create_logger(stderr, LOG_NOTICE, 0) };
        let mut context = null_mut();
        // SAFETY: LX-1; version 0 is `LIBXL_VERSION`. The logger lives as long as the process.
        let status = unsafe { allocate(&raw mut context, 0, 0, logger) };
        succeeded("libxl_ctx_alloc", status)?;
        Ok(Self {
            context: NonNull::new(context).ok_or(Error::Status("libxl_ctx_alloc", 0))?,
            free: function(&light, "libxl_ctx_free")?,
            initialise: function(&light, "libxl_domain_config_init")?,
            dispose: function(&light, "libxl_domain_config_dispose")?,
            retrieve: function(&light, "libxl_retrieve_domain_configuration")?,
            create: function(&light, "libxl_domain_create_new")?,
            preserve: function(&light, "libxl_domain_preserve")?,
            _libraries: [light, log, c],
        })
    }

    /// The configuration of a domain, as it is now.
    pub fn configuration(&self, domain: u32) -> Result<Configuration<'_>, Error> {
        let mut configuration = Configuration { space: Box::new(Space([0; CONFIGURATION])), light: self };
        // SAFETY: LX-1, LX-5.
        unsafe { (self.initialise)(configuration.pointer()) };
        // SAFETY: LX-1, LX-2, LX-5; without a way to tell when it is done, the call waits.
        let status = unsafe { (self.retrieve)(self.context.as_ptr(), domain, configuration.pointer(), null()) };
        succeeded("libxl_retrieve_domain_configuration", status)?;
        Ok(configuration)
    }
}

impl Configuration<'_> {
    fn pointer(&mut self) -> *mut c_void {
        (&raw mut *self.space).cast()
    }

    /// Gives the domain of this configuration another name and UUID, so that its own are free. The
    /// name gets `suffix`.
    pub fn preserve(&mut self, domain: u32, suffix: &str, uuid: [u8; 16]) -> Result<(), Error> {
        let suffix = CString::new(suffix).map_err(|_| Error::Status("libxl_domain_preserve", 0))?;
        let (context, information) = (self.light.context.as_ptr(), self.pointer());
        // SAFETY: LX-1, LX-2, LX-5; the part that the call takes is the first of the configuration.
        let status = unsafe { (self.light.preserve)(context, domain, information, suffix.as_ptr(), Uuid(uuid)) };
        succeeded("libxl_domain_preserve", status)
    }

    /// Creates a new domain, which is paused. Returns its id.
    pub fn create(&mut self) -> Result<u32, Error> {
        let mut domain = u32::MAX;
        let (context, configuration) = (self.light.context.as_ptr(), self.pointer());
        // SAFETY: LX-1, LX-2, LX-5; without a way to tell when it is done, the call waits.
        let status = unsafe { (self.light.create)(context, configuration, &raw mut domain, null(), null()) };
        succeeded("libxl_domain_create_new", status)?;
        Ok(domain)
    }
}

impl Drop for Configuration<'_> {
    fn drop(&mut self) {
        // SAFETY: LX-1, LX-5; this is the only place that disposes of it.
        unsafe { (self.light.dispose)(self.pointer()) };
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        // SAFETY: LX-1, LX-2; this is the only place that frees it, and configurations borrow it.
        unsafe { (self.free)(self.context.as_ptr()) };
    }
}

fn succeeded(call: &'static str, status: c_int) -> Result<(), Error> {
    if status == 0 { Ok(()) } else { Err(Error::Status(call, status)) }
}
