//! Power-off and restart of the simulated machine: the calling thread panics, with a message that a
//! test can expect.

/// Powers the machine off.
pub fn off() -> ! {
    panic!("the machine was switched off");
}

/// Restarts the machine.
pub fn reboot() -> ! {
    panic!("the machine was restarted");
}

/// Stops this CPU permanently.
pub fn halt() -> ! {
    panic!("the CPU was halted");
}
