//! What the headers `xenctrl.h`, `xenguest.h`, `xentoollog.h` and `libxl.h` of version 4.17
//! declare, as far as it is used.

use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

use abi::domctl::GetDomainInfo;

/// `xc_interface`, which only the library looks into.
#[repr(C)]
pub(crate) struct Handle {
    _opaque: [u8; 0],
}

/// `struct precopy_stats`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrecopyStats {
    pub(crate) iteration: c_uint,
    pub(crate) total_written: c_ulong,
    /// Negative if it is not known.
    pub(crate) dirty_count: c_long,
}

/// `struct save_callbacks`. A callback that is absent is not called.
#[repr(C)]
pub(crate) struct SaveCallbacks {
    pub(crate) suspend: Option<extern "C" fn(*mut c_void) -> c_int>,
    pub(crate) precopy_policy: Option<extern "C" fn(PrecopyStats, *mut c_void) -> c_int>,
    /// `postcopy`, `checkpoint` and `wait_checkpoint`, which a plain stream does not use.
    pub(crate) checkpoints: [Option<extern "C" fn(*mut c_void) -> c_int>; 3],
    /// `switch_qemu_logdirty`, for HVM guests.
    pub(crate) switch_qemu: Option<extern "C" fn(u32, c_uint, *mut c_void) -> c_int>,
    pub(crate) data: *mut c_void,
}

/// `XCFLAGS_LIVE`.
pub(crate) const LIVE: u32 = 1;
/// `XC_STREAM_PLAIN`.
pub(crate) const STREAM_PLAIN: c_uint = 0;
/// `XGS_POLICY_ABORT`.
pub(crate) const POLICY_ABORT: c_int = -1;
/// `XGS_POLICY_CONTINUE_PRECOPY`.
pub(crate) const POLICY_CONTINUE: c_int = 0;
/// `XGS_POLICY_STOP_AND_COPY`.
pub(crate) const POLICY_STOP: c_int = 1;

/// `xc_interface_open`; the loggers may be null.
pub(crate) type Open = unsafe extern "C" fn(*mut c_void, *mut c_void, c_uint) -> *mut Handle;
/// `xc_interface_close`.
pub(crate) type Close = unsafe extern "C" fn(*mut Handle) -> c_int;
/// `xc_domain_getinfolist`; returns how many entries were written.
pub(crate) type GetInfoList = unsafe extern "C" fn(*mut Handle, u32, c_uint, *mut GetDomainInfo) -> c_int;
/// `xc_domain_pause`, `xc_domain_unpause`.
pub(crate) type OfDomain = unsafe extern "C" fn(*mut Handle, u32) -> c_int;
/// `xc_domain_claim_pages`.
pub(crate) type ClaimPages = unsafe extern "C" fn(*mut Handle, u32, c_ulong) -> c_int;
/// `xc_domain_resume`; the last argument selects that the guest learns that it was not moved.
pub(crate) type Resume = unsafe extern "C" fn(*mut Handle, u32, c_int) -> c_int;
/// `xc_domain_save`: handle, file, domain, flags, callbacks, kind of stream, back channel.
pub(crate) type DomainSave =
    unsafe extern "C" fn(*mut Handle, c_int, u32, u32, *mut SaveCallbacks, c_uint, c_int) -> c_int;

/// `libxl_uuid`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

/// `XTL_NOTICE`.
pub(crate) const LOG_NOTICE: c_uint = 6;

/// `xtl_createlogger_stdiostream`: stream, least level, flags.
pub(crate) type CreateLogger = unsafe extern "C" fn(*mut c_void, c_uint, c_uint) -> *mut c_void;
/// `libxl_ctx_alloc`: context, version, flags, logger.
pub(crate) type ContextAlloc = unsafe extern "C" fn(*mut *mut c_void, c_int, c_uint, *mut c_void) -> c_int;
/// `libxl_ctx_free`.
pub(crate) type ContextFree = unsafe extern "C" fn(*mut c_void) -> c_int;
/// `libxl_domain_config_init`, `libxl_domain_config_dispose`.
pub(crate) type ConfigurationCall = unsafe extern "C" fn(*mut c_void);
/// `libxl_retrieve_domain_configuration`: context, domain, configuration, how it completes.
pub(crate) type Retrieve = unsafe extern "C" fn(*mut c_void, u32, *mut c_void, *const c_void) -> c_int;
/// `libxl_domain_create_new`: context, configuration, domain, how it completes, progress.
pub(crate) type CreateNew =
    unsafe extern "C" fn(*mut c_void, *mut c_void, *mut u32, *const c_void, *const c_void) -> c_int;
/// `libxl_domain_preserve`: context, domain, the configuration's first part, suffix, UUID.
pub(crate) type Preserve = unsafe extern "C" fn(*mut c_void, u32, *mut c_void, *const c_char, Uuid) -> c_int;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::mem::{offset_of, size_of};
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    /// Each declaration, as a C expression that is true if it is the headers'.
    fn expectations() -> Vec<String> {
        let sizes = [
            ("struct precopy_stats", size_of::<PrecopyStats>()),
            ("struct save_callbacks", size_of::<SaveCallbacks>()),
            ("xc_domaininfo_t", size_of::<GetDomainInfo>()),
            ("xc_stream_type_t", size_of::<c_uint>()),
            ("xentoollog_level", size_of::<c_uint>()),
            ("libxl_uuid", size_of::<Uuid>()),
        ];
        let offsets = [
            ("struct precopy_stats, iteration", offset_of!(PrecopyStats, iteration)),
            ("struct precopy_stats, total_written", offset_of!(PrecopyStats, total_written)),
            ("struct precopy_stats, dirty_count", offset_of!(PrecopyStats, dirty_count)),
            ("struct save_callbacks, suspend", offset_of!(SaveCallbacks, suspend)),
            ("struct save_callbacks, precopy_policy", offset_of!(SaveCallbacks, precopy_policy)),
            ("struct save_callbacks, postcopy", offset_of!(SaveCallbacks, checkpoints)),
            ("struct save_callbacks, switch_qemu_logdirty", offset_of!(SaveCallbacks, switch_qemu)),
            ("struct save_callbacks, data", offset_of!(SaveCallbacks, data)),
        ];
        let numbers = [
            ("XCFLAGS_LIVE", i64::from(LIVE)),
            ("XC_STREAM_PLAIN", i64::from(STREAM_PLAIN)),
            ("XGS_POLICY_ABORT", i64::from(POLICY_ABORT)),
            ("XGS_POLICY_CONTINUE_PRECOPY", i64::from(POLICY_CONTINUE)),
            ("XGS_POLICY_STOP_AND_COPY", i64::from(POLICY_STOP)),
            ("XTL_NOTICE", i64::from(LOG_NOTICE)),
            ("LIBXL_VERSION", 0),
        ];
        let functions = [
            ("xc_interface_open", "xc_interface *(*)(xentoollog_logger *, xentoollog_logger *, unsigned)"),
            ("xc_interface_close", "int (*)(xc_interface *)"),
            ("xc_domain_getinfolist", "int (*)(xc_interface *, uint32_t, unsigned, xc_domaininfo_t *)"),
            ("xc_domain_pause", "int (*)(xc_interface *, uint32_t)"),
            ("xc_domain_unpause", "int (*)(xc_interface *, uint32_t)"),
            ("xc_domain_claim_pages", "int (*)(xc_interface *, uint32_t, unsigned long)"),
            ("xc_domain_resume", "int (*)(xc_interface *, uint32_t, int)"),
            (
                "xc_domain_save",
                "int (*)(xc_interface *, int, uint32_t, uint32_t, struct save_callbacks *, xc_stream_type_t, int)",
            ),
            ("xtl_createlogger_stdiostream", "xentoollog_logger_stdiostream *(*)(FILE *, xentoollog_level, unsigned)"),
            ("libxl_ctx_alloc", "int (*)(libxl_ctx **, int, unsigned, xentoollog_logger *)"),
            ("libxl_ctx_free", "int (*)(libxl_ctx *)"),
            ("libxl_domain_config_init", "void (*)(libxl_domain_config *)"),
            ("libxl_domain_config_dispose", "void (*)(libxl_domain_config *)"),
            (
                "libxl_retrieve_domain_configuration",
                "int (*)(libxl_ctx *, uint32_t, libxl_domain_config *, const libxl_asyncop_how *)",
            ),
            (
                "libxl_domain_create_new",
                "int (*)(libxl_ctx *, libxl_domain_config *, uint32_t *, const libxl_asyncop_how *, \
                 const libxl_asyncprogress_how *)",
            ),
            (
                "libxl_domain_preserve",
                "int (*)(libxl_ctx *, uint32_t, libxl_domain_create_info *, const char *, libxl_uuid)",
            ),
            ("((struct save_callbacks *)0)->suspend", "int (*)(void *)"),
            ("((struct save_callbacks *)0)->precopy_policy", "int (*)(struct precopy_stats, void *)"),
        ];
        let limits = [
            format!("sizeof(libxl_domain_config) <= {}", crate::light::CONFIGURATION),
            "_Alignof(libxl_domain_config) <= 16".into(),
            "offsetof(libxl_domain_config, c_info) == 0".into(),
        ];
        let mut all = Vec::from(limits);
        all.extend(sizes.map(|(name, size)| format!("sizeof({name}) == {size}")));
        all.extend(offsets.map(|(name, offset)| format!("offsetof({name}) == {offset}")));
        all.extend(numbers.map(|(name, number)| format!("({name}) == {number}")));
        all.extend(functions.map(|(name, kind)| {
            let function = if name.starts_with('(') { name.to_owned() } else { format!("&{name}") };
            format!("__builtin_types_compatible_p(__typeof__({function}), {kind})")
        }));
        all
    }

    /// The C compiler's verdict on the expressions, or `None` if it or the headers are missing.
    fn compiles(expressions: &[String]) -> Option<bool> {
        if !Path::new("/usr/include/xenguest.h").exists() {
            return None;
        }
        let mut program = String::from(
            "#include <stddef.h>\n#include <stdbool.h>\n#include <xenctrl.h>\n#include <xenguest.h>\n#include <libxl.h>\n",
        );
        for (number, expression) in expressions.iter().enumerate() {
            program += &format!("_Static_assert({expression}, \"{number}\");\n");
        }
        let mut command = Command::new("cc");
        command.args(["-std=gnu11", "-fsyntax-only", "-x", "c", "-"]).stdin(Stdio::piped());
        let mut compiler = command.spawn().ok()?;
        compiler.stdin.take()?.write_all(program.as_bytes()).ok()?;
        Some(compiler.wait().ok()?.success())
    }

    #[test]
    fn declarations_are_those_of_the_headers() {
        let Some(agree) = compiles(&expectations()) else {
            eprintln!("skipped: no C compiler, or no headers (libxen-dev)");
            return;
        };
        assert!(agree, "see the compiler's messages");
        assert_eq!(compiles(&["sizeof(struct save_callbacks) == 7".into()]), Some(false), "a difference is seen");
    }
}
