//! Kernel modules for a ramdisk, in load order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Files of the modules called `names` and of all their dependencies, dependencies first. `folder`
/// has `modules.dep`. A module that is built into the kernel has no file.
pub(crate) fn closure(folder: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let path = folder.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let files = ordered(&text, &built_in, names)?;
    Ok(files.into_iter().map(|file| folder.join(file)).collect())
}

/// The same, given the contents of `modules.dep` and `modules.builtin`.
fn ordered<'a>(dependencies: &'a str, built_in: &str, names: &[&str]) -> Result<Vec<&'a str>> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let known: BTreeMap<String, (&str, &str)> = lines.map(|(file, needs)| (name(file), (file, needs))).collect();
    let mut files: Vec<&str> = Vec::new();
    for wanted in names {
        let wanted = wanted.replace('-', "_");
        if built_in.lines().any(|file| name(file) == wanted) {
            continue;
        }
        let (file, needs) = known.get(&wanted).with_context(|| format!("the kernel has no module {wanted}"))?;
        // Read from its end to its start, a line of depmod has each module after its dependencies.
        for file in needs.split_whitespace().rev().chain([*file]) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// The kernel's name of the module in `file`.
fn name(file: &str) -> String {
    let last = file.rsplit('/').next().unwrap_or_default();
    last.split('.').next().unwrap_or_default().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::ordered;

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let dependencies =
            "kernel/a.ko: kernel/b-b.ko kernel/c.ko.xz\nkernel/b-b.ko: kernel/c.ko.xz\nkernel/c.ko.xz:\n";
        let files = ordered(dependencies, "kernel/built-in.ko\n", &["b_b", "a", "built-in"]).expect("all there");
        assert_eq!(files, ["kernel/c.ko.xz", "kernel/b-b.ko", "kernel/a.ko"]);
        assert!(ordered(dependencies, "", &["d"]).is_err());
    }
}
