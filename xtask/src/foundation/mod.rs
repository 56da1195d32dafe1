//! Basics for all other modules: processes, progress, sizes, tables, the terminal, and the
//! workspace.

pub(crate) mod cargo;
pub(crate) mod command;
pub(crate) mod progress;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod tools;
pub(crate) mod workspace;
