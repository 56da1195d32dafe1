//! Watching a guest until it ends, as `xl` does after it has created one: `on_poweroff`,
//! `on_reboot` and `on_crash` of its configuration are honoured.
//!
//! The `xl` process that watches a guest ends when the guest suspends (`handle_domain_death` in
//! version 4.17), so a guest that continues after a migration that failed has none. No command of
//! `xl` starts one again. `libvirtd` continues to watch its guests.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libxen::{GetDomainInfo, Interface, Light, Shutdown, state};
use serde_json::Value;

use crate::xen::configuration;
use crate::xen::tools;
use crate::xen::xenstore::Store;

/// Where `xl` writes what it does while it watches a guest.
const LOGS: &str = "/var/log/xen";

/// Where dumps of crashed guests are.
const DUMPS: &str = "/var/lib/xen/dump";

/// Where `libvirtd` keeps the state of its guests.
const LIBVIRT: &str = "/run/libvirt/libxl";

/// How often the guest's state is looked at without an event.
const OFTEN: Duration = Duration::from_secs(60);

/// Attempts to create a guest again, since devices of the previous domain may still be in use.
const ATTEMPTS: u32 = 3;

/// What the tools do when a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Action {
    dump: bool,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Destroy,
    Restart,
    /// Keep the domain under another name, and start the guest again.
    RenameRestart,
    Preserve,
}

/// Starts a process that watches the domain, unless `libvirtd` does.
pub(super) fn start(domain: u32, name: &str) -> Result<()> {
    if Path::new(LIBVIRT).join(format!("{name}.xml")).exists() {
        return Ok(());
    }
    let log = Path::new(LOGS).join(format!("paravane-{name}.log"));
    let log = OpenOptions::new().append(true).create(true).open(&log).with_context(|| log.display().to_string())?;
    // `setsid` detaches it from the terminal and from this process.
    let program = std::env::current_exe()?;
    let mut command = Command::new("setsid");
    command.arg("--fork").arg(program).args(["watch", &domain.to_string()]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let status = command.status().context("cannot start setsid (Debian: install util-linux)")?;
    anyhow::ensure!(status.success(), "setsid: {status}");
    Ok(())
}

/// Watches a domain, and those that replace it, until the guest has ended for good.
pub fn watch(mut domain: u32) -> Result<()> {
    let interface = Interface::open()?;
    let mut store = Store::connect()?;
    store.watch("@releaseDomain")?;
    let Some(first) = interface.domain(domain)? else { return Ok(()) };
    let mut handle = first.handle;
    println!("watching domain {domain}");
    loop {
        let info = interface.domain(domain)?.filter(|info| info.handle == handle && !is_dying(info));
        let Some(info) = info else {
            println!("domain {domain} has been destroyed");
            return Ok(());
        };
        if let Some(reason) = state(&info) {
            match end(&interface, domain, reason)? {
                Some(next) => {
                    domain = next;
                    handle = interface.domain(domain)?.context("the new domain is gone")?.handle;
                    println!("watching domain {domain}");
                    continue;
                }
                None => return Ok(()),
            }
        }
        store.wait(Instant::now() + OFTEN)?;
    }
}

fn is_dying(info: &GetDomainInfo) -> bool {
    info.flags & abi::domctl::info_flags::DYING != 0
}

/// Does what the configuration says when a domain has ended. Returns the domain that replaces it.
fn end(interface: &Interface, domain: u32, reason: Shutdown) -> Result<Option<u32>> {
    if reason == Shutdown::Suspend {
        println!("domain {domain} has suspended");
        return Ok(None);
    }
    let (_, settings) = tools::domain(&domain.to_string())?;
    let (name, _) = configuration::identity(&settings)?;
    let action = action(&settings, reason);
    println!("domain {domain} ('{name}') has ended: {reason:?}; {action:?}");
    if action.dump {
        // As `xl` does, it continues without the dump.
        if let Err(error) = tools::dump_core(domain, &Path::new(DUMPS).join(name)) {
            println!("no dump: {error:#}");
        }
    }
    match action.then {
        Then::Preserve => Ok(None),
        Then::Destroy => tools::destroy(domain).map(|()| None),
        Then::Restart | Then::RenameRestart => restart(interface, domain, action.then).map(Some),
    }
}

/// Creates the guest again from its configuration and lets it run. Returns the new domain.
fn restart(interface: &Interface, domain: u32, how: Then) -> Result<u32> {
    let light = Light::open()?;
    let mut configuration = light.configuration(domain)?;
    if how == Then::RenameRestart {
        let (suffix, uuid) = new_name()?;
        configuration.preserve(domain, &suffix, uuid)?;
    } else {
        tools::destroy(domain)?;
    }
    let mut attempt = 1;
    let next = loop {
        match configuration.create() {
            Ok(next) => break next,
            Err(error) if attempt == ATTEMPTS => return Err(error).context("the guest cannot be started again"),
            Err(error) => println!("the guest cannot be started again: {error}; trying once more"),
        }
        attempt += 1;
        std::thread::sleep(Duration::from_secs(2));
    };
    interface.unpause(next)?;
    Ok(next)
}

/// An end for the name of a domain that is kept, and a new UUID for it.
fn new_name() -> Result<(String, [u8; 16])> {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("there is no randomness")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let uuid = u128::from_str_radix(&digits, 16).context("there is no randomness")?;
    Ok((format!("-{}", time.as_secs()), uuid.to_be_bytes()))
}

/// The action that the configuration names for this reason. `libxl` writes all of them.
fn action(settings: &Value, reason: Shutdown) -> Action {
    let name = match reason {
        Shutdown::PowerOff => "on_poweroff",
        Shutdown::Reboot => "on_reboot",
        Shutdown::Crash => "on_crash",
        Shutdown::Other(4) => "on_watchdog",
        Shutdown::Suspend | Shutdown::Other(_) => "",
    };
    let (dump, then) = match settings.get(name).and_then(Value::as_str) {
        Some("restart") => (false, Then::Restart),
        Some("rename-restart") => (false, Then::RenameRestart),
        // A PV guest cannot be reset without a new domain.
        Some("preserve" | "soft-reset") => (false, Then::Preserve),
        Some("coredump-destroy") => (true, Then::Destroy),
        Some("coredump-restart") => (true, Then::Restart),
        _ => (false, Then::Destroy),
    };
    Action { dump, then }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_action_is_that_of_the_configuration() {
        let settings = json!({"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "coredump-restart",
            "on_watchdog": "preserve"});
        let then = |reason| action(&settings, reason);
        assert_eq!(then(Shutdown::PowerOff), Action { dump: false, then: Then::Destroy });
        assert_eq!(then(Shutdown::Reboot), Action { dump: false, then: Then::Restart });
        assert_eq!(then(Shutdown::Crash), Action { dump: true, then: Then::Restart });
        assert_eq!(then(Shutdown::Other(4)), Action { dump: false, then: Then::Preserve });
        assert_eq!(then(Shutdown::Other(9)), Action { dump: false, then: Then::Destroy });
        assert_eq!(action(&json!({}), Shutdown::Reboot).then, Then::Destroy);
    }

    #[test]
    fn kept_domains_get_names_and_uuids_of_their_own() {
        let (suffix, uuid) = new_name().expect("randomness");
        assert!(suffix.starts_with('-') && uuid != [0; 16]);
        assert_ne!(new_name().expect("randomness").1, uuid);
    }
}
