//! The bootable image: names the function that runs once the machine is up.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
machine::entry_point!(hypervisor::main);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("paravane is an image for the bare machine; build it with `cargo xtask build`");
}
