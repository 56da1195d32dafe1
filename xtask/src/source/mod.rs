//! The workspace's sources as data: which modules a crate has, what they use, the layers that
//! `layers.txt` assigns them to, and what the documents cite.

pub(crate) mod citations;
pub(crate) mod files;
pub(crate) mod graph;
pub(crate) mod layers;
pub(crate) mod tokens;
mod tree;
mod uses;
pub(crate) mod words;
