//! The stock programs: `xl` and `xen-cpuid`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Where Debian installs the programs; the names in the folders for users are a script that finds
/// this folder.
const PRIVATE: &str = "/usr/lib/xen-4.17/bin";

/// A command of the Xen tools, which are in the folders for root.
pub fn command(program: &str) -> Command {
    let private = Path::new(PRIVATE).join(program);
    let mut command = if private.exists() { Command::new(private) } else { Command::new(program) };
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")).stdin(Stdio::null());
    command
}

/// Runs a command and returns its output; fails with what it says.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = command(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {program} (Debian: install xen-utils-4.17)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The id and the configuration of a domain, by its name or id.
pub fn domain(guest: &str) -> Result<(u32, Value)> {
    ensure!(!guest.starts_with('-'), "'{guest}' is not the name of a guest");
    let text = output("xl", &["list", "-l", guest])?;
    let list: Value = serde_json::from_str(&text).context("the output of 'xl list -l' is not JSON")?;
    let Some(domain) = list.as_array().and_then(|list| list.first()) else {
        bail!("xl knows no configuration of the guest '{guest}'");
    };
    let id = domain.get("domid").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let configuration = domain.get("config").context("'xl list -l' shows no configuration")?;
    Ok((id.context("'xl list -l' shows no domain")?, configuration.clone()))
}

/// What `xl info` prints, by name.
pub fn info() -> Result<BTreeMap<String, String>> {
    let text = output("xl", &["info"])?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect())
}

/// Renames a domain.
pub fn rename(domain: u32, name: &str) -> Result<()> {
    output("xl", &["rename", &domain.to_string(), name]).map(drop)
}

/// Removes a domain.
pub fn destroy(domain: u32) -> Result<()> {
    output("xl", &["destroy", &domain.to_string()]).map(drop)
}

/// Writes the memory of a domain to a file.
pub fn dump_core(domain: u32, file: &Path) -> Result<()> {
    let file = file.to_str().context("the path is not text")?;
    output("xl", &["dump-core", &domain.to_string(), file]).map(drop)
}

/// The cap of a domain in percent of a CPU; zero means none.
pub fn cap(domain: u32) -> Result<u32> {
    let text = output("xl", &["sched-credit2", "-d", &domain.to_string()])?;
    let last = text.lines().last().and_then(|line| line.split_whitespace().last());
    last.and_then(|cap| cap.parse().ok()).context("the output of 'xl sched-credit2' has no cap")
}

/// Sets the cap of a domain.
pub fn set_cap(domain: u32, cap: u32) -> Result<()> {
    output("xl", &["sched-credit2", "-d", &domain.to_string(), "-c", &cap.to_string()]).map(drop)
}

/// What `xen-cpuid --policy` prints; of the host without a domain.
pub fn cpu_policy(domain: Option<u32>) -> Result<String> {
    match domain {
        Some(domain) => output("xen-cpuid", &["--policy", &domain.to_string()]),
        None => output("xen-cpuid", &["--policy"]),
    }
}
