//! The bootable image: defines the function that runs after start-up.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
machine::entry_point!(hypervisor::main);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("paravane is an image for the bare machine; build it with `cargo xtask build`");
}
