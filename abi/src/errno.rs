//! `errno.h`: the error numbers a hypercall may return, negated.

/// An error number. [`Errno::number`] is positive; a hypercall returns it negated.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errno {
    /// Not permitted.
    EPERM = 1,
    /// No such entry.
    ENOENT = 2,
    /// No such domain.
    ESRCH = 3,
    /// I/O error.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// Argument list too long.
    E2BIG = 7,
    /// Not an executable.
    ENOEXEC = 8,
    /// Bad file number.
    EBADF = 9,
    /// No child.
    ECHILD = 10,
    /// Try again.
    EAGAIN = 11,
    /// Out of memory.
    ENOMEM = 12,
    /// Access denied.
    EACCES = 13,
    /// Bad address.
    EFAULT = 14,
    /// Busy.
    EBUSY = 16,
    /// Exists already.
    EEXIST = 17,
    /// Crosses devices.
    EXDEV = 18,
    /// No such device.
    ENODEV = 19,
    /// Not a directory.
    ENOTDIR = 20,
    /// Is a directory.
    EISDIR = 21,
    /// Invalid argument.
    EINVAL = 22,
    /// Table overflow.
    ENFILE = 23,
    /// Too many open.
    EMFILE = 24,
    /// No space left.
    ENOSPC = 28,
    /// Read-only.
    EROFS = 30,
    /// Too many links.
    EMLINK = 31,
    /// Out of domain.
    EDOM = 33,
    /// Not representable.
    ERANGE = 34,
    /// Would deadlock.
    EDEADLK = 35,
    /// Name too long.
    ENAMETOOLONG = 36,
    /// No locks left.
    ENOLCK = 37,
    /// Not implemented.
    ENOSYS = 38,
    /// Not empty.
    ENOTEMPTY = 39,
    /// No data.
    ENODATA = 61,
    /// Timer expired.
    ETIME = 62,
    /// Not a message.
    EBADMSG = 74,
    /// Value too large.
    EOVERFLOW = 75,
    /// Illegal byte sequence.
    EILSEQ = 84,
    /// Not a socket.
    ENOTSOCK = 88,
    /// Message too long.
    EMSGSIZE = 90,
    /// Not supported.
    EOPNOTSUPP = 95,
    /// Address in use.
    EADDRINUSE = 98,
    /// Address not available.
    EADDRNOTAVAIL = 99,
    /// No buffer space.
    ENOBUFS = 105,
    /// Connected already.
    EISCONN = 106,
    /// Not connected.
    ENOTCONN = 107,
    /// Timed out.
    ETIMEDOUT = 110,
    /// Connection refused.
    ECONNREFUSED = 111,
}

impl Errno {
    /// `EWOULDBLOCK` is another name of [`Errno::EAGAIN`].
    pub const EWOULDBLOCK: Self = Self::EAGAIN;
    /// `EDEADLOCK` is another name of [`Errno::EDEADLK`].
    pub const EDEADLOCK: Self = Self::EDEADLK;

    /// The positive number.
    pub const fn number(self) -> i32 {
        self as i32
    }
}

#[cfg(all(test, not(miri)))]
#[test]
fn numbers_match_the_c_header() {
    use Errno::*;
    crate::header_check::agree(
        "xen/errno.h",
        &[
            ("XEN_EPERM", EPERM as i128),
            ("XEN_ENOENT", ENOENT as i128),
            ("XEN_ESRCH", ESRCH as i128),
            ("XEN_EIO", EIO as i128),
            ("XEN_ENXIO", ENXIO as i128),
            ("XEN_E2BIG", E2BIG as i128),
            ("XEN_ENOEXEC", ENOEXEC as i128),
            ("XEN_EBADF", EBADF as i128),
            ("XEN_ECHILD", ECHILD as i128),
            ("XEN_EAGAIN", EAGAIN as i128),
            ("XEN_ENOMEM", ENOMEM as i128),
            ("XEN_EACCES", EACCES as i128),
            ("XEN_EFAULT", EFAULT as i128),
            ("XEN_EBUSY", EBUSY as i128),
            ("XEN_EEXIST", EEXIST as i128),
            ("XEN_EXDEV", EXDEV as i128),
            ("XEN_ENODEV", ENODEV as i128),
            ("XEN_ENOTDIR", ENOTDIR as i128),
            ("XEN_EISDIR", EISDIR as i128),
            ("XEN_EINVAL", EINVAL as i128),
            ("XEN_ENFILE", ENFILE as i128),
            ("XEN_EMFILE", EMFILE as i128),
            ("XEN_ENOSPC", ENOSPC as i128),
            ("XEN_EROFS", EROFS as i128),
            ("XEN_EMLINK", EMLINK as i128),
            ("XEN_EDOM", EDOM as i128),
            ("XEN_ERANGE", ERANGE as i128),
            ("XEN_EDEADLK", EDEADLK as i128),
            ("XEN_ENAMETOOLONG", ENAMETOOLONG as i128),
            ("XEN_ENOLCK", ENOLCK as i128),
            ("XEN_ENOSYS", ENOSYS as i128),
            ("XEN_ENOTEMPTY", ENOTEMPTY as i128),
            ("XEN_ENODATA", ENODATA as i128),
            ("XEN_ETIME", ETIME as i128),
            ("XEN_EBADMSG", EBADMSG as i128),
            ("XEN_EOVERFLOW", EOVERFLOW as i128),
            ("XEN_EILSEQ", EILSEQ as i128),
            ("XEN_ENOTSOCK", ENOTSOCK as i128),
            ("XEN_EMSGSIZE", EMSGSIZE as i128),
            ("XEN_EOPNOTSUPP", EOPNOTSUPP as i128),
            ("XEN_EADDRINUSE", EADDRINUSE as i128),
            ("XEN_EADDRNOTAVAIL", EADDRNOTAVAIL as i128),
            ("XEN_ENOBUFS", ENOBUFS as i128),
            ("XEN_EISCONN", EISCONN as i128),
            ("XEN_ENOTCONN", ENOTCONN as i128),
            ("XEN_ETIMEDOUT", ETIMEDOUT as i128),
            ("XEN_ECONNREFUSED", ECONNREFUSED as i128),
        ],
    );
}
