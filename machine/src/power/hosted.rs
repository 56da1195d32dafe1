//! Ends of the simulated machine: the thread that asks panics, with a message that a test can
//! expect.

/// Switches the machine off.
pub fn off() -> ! {
    panic!("the machine was switched off");
}

/// Restarts the machine.
pub fn reboot() -> ! {
    panic!("the machine was restarted");
}

/// Stops this CPU for good.
pub fn halt() -> ! {
    panic!("the CPU was halted");
}
