//! The operations of a hypercall, one row each: number, privilege, and either a handler or the
//! error that refuses it. Dispatch and the rows of `docs/hypercalls.md` are expanded from the same
//! list.

use abi::errno::Errno;

/// The domains that may make a hypercall, or use one of its operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privilege {
    /// Any domain.
    Any,
    /// Any domain on itself; the control domain on other domains too.
    OwnOrControl,
    /// The control domain. The handler gets a [`ControlPrivilege`](super::ControlPrivilege).
    Control,
    /// The domain that owns the machine's devices. The handler gets the machine's interrupt and PCI
    /// hardware.
    Hardware,
}

/// One operation of a hypercall.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its number in the interface.
    pub number: u32,
    /// Its name in the public headers.
    pub name: &'static str,
    /// The privilege that it needs, if different from that of the hypercall.
    pub privilege: Option<Privilege>,
    /// The error that refuses it, if it is not implemented.
    pub refusal: Option<Errno>,
}

/// Names and numbers of the operations in a public header.
pub(crate) type Names = &'static [(&'static str, u32)];

impl Operation {
    /// Creates a row and looks up its name in the public headers.
    ///
    /// # Panics
    /// At compile time, if the headers have no operation of this number.
    pub(crate) const fn new(
        mut headers: &[Names],
        number: u32,
        privilege: Option<Privilege>,
        refusal: Option<Errno>,
    ) -> Self {
        while let [names, others @ ..] = headers {
            let mut names = *names;
            while let [(name, of), rest @ ..] = names {
                if *of == number {
                    return Self { number, name, privilege, refusal };
                }
                names = rest;
            }
            headers = others;
        }
        panic!("the public header has no operation of this number")
    }
}

/// Returns whether each number of the public headers has exactly one row.
pub(crate) const fn cover(rows: &[Operation], mut headers: &[Names]) -> bool {
    while let [names, others @ ..] = headers {
        let mut names = *names;
        while let [(_, number), rest @ ..] = names {
            let (mut left, mut found) = (rows, 0);
            while let [row, after @ ..] = left {
                found += (row.number == *number) as usize;
                left = after;
            }
            if found != 1 {
                return false;
            }
            names = rest;
        }
        headers = others;
    }
    true
}

/// Defines the operations of a hypercall: the table `OPERATIONS` and the function that dispatches
/// on the number.
///
/// ```text
/// operations! {
///     /// What the function does.
///     pub(crate) fn sched_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt)
///         -> CallResult;
///     names: op::NAMES;                       // the header's names; each number needs a row
///     op::BLOCK => block(caller);             // the hypercall's own privilege
///     op::PIN_OVERRIDE: Control(control) => pin_override(caller, control, argument);
///     op::X: Refused => Errno::EOPNOTSUPP;
/// }
/// ```
///
/// The first argument is the caller, the second the number. A number without a row returns
/// `ENOSYS`, or the error of a line `unknown: …;` after the names. The name in parentheses is bound
/// to the token of the privilege.
macro_rules! operations {
    (@row $operation:path) => { $crate::call::Operation::new(NAMES, $operation, None, None) };
    (@row $operation:path, Refused $errno:expr) => {
        $crate::call::Operation::new(NAMES, $operation, None, Some($errno))
    };
    (@row $operation:path, $privilege:ident $body:expr) => {
        $crate::call::Operation::new(NAMES, $operation, Some($crate::call::Privilege::$privilege), None)
    };
    (@arm $caller:ident [] $body:expr) => { $body };
    (@arm $caller:ident [Any] $body:expr) => { $body };
    (@arm $caller:ident [OwnOrControl] $body:expr) => { $body };
    (@arm $caller:ident [Refused] $errno:expr) => { Err($errno.into()) };
    (@arm $caller:ident [Control($token:ident)] $body:expr) => {{ let $token = $caller.control()?; $body }};
    (@arm $caller:ident [Hardware($token:ident)] $body:expr) => {{ let $token = $caller.hardware()?; $body }};
    (
        $(#[$meta:meta])*
        $visibility:vis fn $perform:ident($caller:ident: $caller_type:ty, $number:ident: u32 $(, $argument:ident: $type:ty)*) -> $result:ty;
        names: $($names:expr),+;
        unknown: $unknown:expr;
        $( $operation:path $(: $privilege:ident $(($token:ident))?)? => $body:expr; )*
    ) => {
        const NAMES: &[$crate::call::Names] = &[$($names),+];

        /// The operations, in the order of dispatch.
        pub(crate) const OPERATIONS: &[$crate::call::Operation] = &[$(
            $crate::call::operations!(@row $operation $(, $privilege $body)?),
        )*];

        const _: () = assert!($crate::call::cover(OPERATIONS, NAMES), "an operation of the header has no row");

        $(#[$meta])*
        $visibility fn $perform($caller: $caller_type, $number: u32 $(, $argument: $type)*) -> $result {
            match $number {
                $($operation => $crate::call::operations!(@arm $caller [$($privilege $(($token))?)?] $body),)*
                _ => Err($unknown.into()),
            }
        }
    };
    (
        $(#[$meta:meta])*
        $visibility:vis fn $perform:ident($($parameters:tt)*) -> $result:ty;
        names: $($names:expr),+;
        $($rows:tt)*
    ) => {
        $crate::call::operations! {
            $(#[$meta])*
            $visibility fn $perform($($parameters)*) -> $result;
            names: $($names),+;
            unknown: abi::errno::Errno::ENOSYS;
            $($rows)*
        }
    };
}

pub(crate) use operations;
