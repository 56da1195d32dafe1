//! The workspace's sources as data: which modules a crate has, what they use, and the layers that
//! `layers.txt` assigns them to.

pub(crate) mod graph;
pub(crate) mod layers;
mod tree;
mod uses;
