//! The public Xen interface as data.
#![no_std]
#![forbid(unsafe_code)]
