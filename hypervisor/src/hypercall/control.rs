//! The calls with which the control domain runs the host: `sysctl`, `domctl`, `kexec_op`. For anybody else they are refused; their operations are not
//! there yet.

use abi::errno::Errno;

use super::{CallResult, Caller};

/// Refuses who may not control the host.
pub fn control(caller: &mut Caller<'_>) -> CallResult {
    let error = if caller.domain.is_privileged() { Errno::ENOSYS } else { Errno::EPERM };
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use abi::xen::hypercall;

    use super::*;
    use crate::hypercall::{CallError, table};
    use crate::testing::Guest;

    #[test]
    fn nobody_but_the_control_domain_controls_the_host() {
        let mut guest = Guest::new(1, 2);
        for number in [hypercall::SYSCTL, hypercall::DOMCTL, hypercall::KEXEC_OP] {
            let row = table::row(number.into()).expect("a call that exists");
            let result = (row.handler)(&mut guest.caller(), [0; 6]);
            assert!(matches!(result, Err(CallError::Errno(Errno::EPERM))), "{}: {result:?}", row.name);
        }
    }
}
