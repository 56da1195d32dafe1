//! Documents that are generated, and the layers with their picture.

use super::compiler::cargo;
use super::{Checked, Verdict, none_of, up_to_date};
use crate::foundation::{command, workspace};
use crate::source::layers;

/// Each document has the output of the example of `hypervisor` of the same name.
const GENERATED: [&str; 4] = ["hypercalls", "limits", "options", "processor"];

/// Modules keep to the layers of `layers.txt`, and the picture of them is up to date.
pub(super) fn layers(fix: bool) -> Checked {
    let root = workspace::root();
    let crates = layers::read(root)?;
    none_of(&layers::findings(&crates))?;
    up_to_date(&root.join("docs/layers.svg"), layers::svg(&crates).as_bytes(), fix)?;
    Ok(Verdict::Passed)
}

/// The generated documents agree with their tables.
pub(super) fn generated(fix: bool) -> Checked {
    let root = workspace::root();
    for name in GENERATED {
        let run = ["run", "--quiet", "--package", "hypervisor", "--example", name];
        let output = command::quiet(&mut cargo(root, &run))?;
        up_to_date(&root.join("docs").join(name).with_extension("md"), &output.stdout, fix)?;
    }
    Ok(Verdict::Passed)
}
