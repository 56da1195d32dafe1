//! The operations of a hypercall, one row each: number, who may use it, and either its handler or
//! the error with which it is refused. The dispatch and the rows of `docs/hypercalls.md` are one
//! expansion of the same list.

use abi::errno::Errno;

/// Who may make a hypercall, or use one of its operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privilege {
    /// Any domain.
    Any,
    /// Any domain for itself; the control domain for others too.
    OwnOrControl,
    /// The control domain. The handler gets a [`ControlPrivilege`](super::ControlPrivilege).
    Control,
    /// The domain that has the machine's devices. The handler gets the machine's interrupt and PCI
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
    /// Who may use it, if that differs from the hypercall's own privilege.
    pub privilege: Option<Privilege>,
    /// The error with which it is refused to every caller, if it is not implemented.
    pub refusal: Option<Errno>,
}

/// Operations of a public header: their names and numbers.
pub(crate) type Names = &'static [(&'static str, u32)];

impl Operation {
    /// A row, with its name from those of the public header.
    ///
    /// # Panics
    /// If the header has no operation of this number; at compile time.
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

/// Whether each number of the public headers has exactly one row.
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

/// Defines the operations of a hypercall: the table `OPERATIONS`, and the function that dispatches
/// on the number.
///
/// ```text
/// operations! {
///     /// What the function does.
///     pub(crate) fn sched_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult;
///     names: op::NAMES;                       // the header's names; each number needs a row
///     op::BLOCK => block(caller);             // open to those that may make the hypercall
///     op::PIN_OVERRIDE: Control(control) => pin_override(caller, control, argument);
///     op::X: Refused => Errno::EOPNOTSUPP;
/// }
/// ```
///
/// The first argument is the caller, the second the number. A number without a row is `ENOSYS`, or
/// the error of a line `unknown: …;` after the names. The name in parentheses is bound to the proof that the privilege gives.
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

        /// The operations, in the order of their dispatch.
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
