//! The Xen tools of this host: xenstore, the stock programs, and the libraries in a process of
//! their own.

pub mod configuration;
pub mod cpu_policy;
pub mod messages;
pub mod tools;
pub mod worker;
pub mod xenstore;
