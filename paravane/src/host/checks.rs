//! Whether a guest can be moved, before anything is touched.

use std::fs::{File, Metadata, metadata};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::link::{Finding, Needs, Severity};
use crate::xen::configuration::{self, INCOMING, identity};
use crate::xen::cpu_policy::{lacking, parse};
use crate::xen::tools;
use crate::xen::worker::Domain;
use crate::xen::xenstore::Store;

fn finding(check: &str, severity: Severity, text: impl Into<String>) -> Finding {
    Finding { check: check.into(), severity, text: text.into() }
}

/// A check that passes or fails.
fn check(check: &str, passes: bool, good: impl Into<String>, bad: impl Into<String>) -> Finding {
    if passes { finding(check, Severity::Passed, good) } else { finding(check, Severity::Failed, bad) }
}

/// Checks of the guest at its source.
pub fn at_source(id: u32, domain: &Domain, configuration: &Value) -> Vec<Finding> {
    let name = configuration::identity(configuration).map(|(name, _)| name.to_owned());
    let state = match domain {
        Domain { is_dying: true, .. } => Some("it is being removed"),
        Domain { shutdown: Some(_), .. } => Some("it has shut down or is suspended"),
        Domain { is_paused: true, .. } => Some("it is paused: run 'xl unpause' first"),
        _ => None,
    };
    let arriving = name.as_ref().is_ok_and(|name| name.ends_with(INCOMING));
    vec![
        check(
            "guest",
            id != 0 && configuration::is_pv(configuration) && !arriving,
            "a PV guest",
            "only PV guests other than the control domain that are not arriving themselves can be moved",
        ),
        check("state", state.is_none(), "it runs", state.unwrap_or_default()),
        check(
            "devices",
            !configuration::has_host_devices(configuration),
            "none of the host's own",
            "it has devices of the host, which cannot move",
        ),
    ]
}

/// What the guest needs at the target.
pub fn needs(id: u32, domain: &Domain, configuration: &Value, boot: &str) -> Result<Needs> {
    let disks = configuration::disks(configuration);
    Ok(Needs {
        configuration: configuration.clone(),
        pages: domain.pages,
        interface: interface()?,
        boot: boot.into(),
        cpuid: parse(&tools::cpu_policy(Some(id))?, "Domain"),
        disks: disks.iter().map(|disk| size(Path::new(&disk.path))).collect(),
    })
}

/// Checks of the target.
pub fn at_target(needs: &Needs, store: &mut Store) -> Result<Vec<Finding>> {
    let info = tools::info()?;
    let mebibytes = |name: &str| info.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let free = mebibytes("free_memory").saturating_sub(mebibytes("outstanding_claims"));
    let needed = needs.pages.div_ceil(256);
    let (here, there) = (interface()?, &needs.interface);
    let lacks = lacking(&needs.cpuid, &parse(&tools::cpu_policy(None)?, "PV Max"));
    let mut findings = vec![
        check(
            "version",
            version(&here) >= version(there),
            format!("Xen's interface {here}"),
            format!("Xen's interface is {here} here and {there} at the source; a guest cannot go back"),
        ),
        check(
            "processor",
            lacks.is_empty() && !needs.cpuid.is_empty(),
            "it has all features that the guest has seen",
            format!("it lacks: {}", lacks.join("; ")),
        ),
        check(
            "memory",
            free >= needed,
            format!("{needed} MiB of {free} MiB free"),
            format!("the guest needs {needed} MiB, {free} MiB are free"),
        ),
        name(needs, store)?,
    ];
    findings.extend(configuration::bridges(&needs.configuration).into_iter().map(|bridge| {
        let is_there = !bridge.contains('/') && Path::new("/sys/class/net").join(&bridge).exists();
        check("network", is_there, format!("bridge {bridge}"), format!("there is no bridge {bridge}"))
    }));
    let sizes = needs.disks.iter().copied().chain(std::iter::repeat(None));
    findings.extend(configuration::disks(&needs.configuration).iter().zip(sizes).map(|(disk, expected)| {
        let name = format!("{} ({})", disk.device, disk.path);
        match (size(Path::new(&disk.path)), expected) {
            (None, _) => finding("disk", Severity::Failed, format!("{name} is not there")),
            (Some(size), Some(expected)) if size != expected => {
                let text = format!("{name} has {size} bytes here and {expected} at the source: it is another one");
                finding("disk", Severity::Failed, text)
            }
            (Some(size), _) => finding("disk", Severity::Passed, format!("{name}, {size} bytes")),
        }
    }));
    let missing = configuration::start_files(&needs.configuration).into_iter().filter(|path| !Path::new(path).exists());
    findings.extend(missing.map(|path| {
        let text = format!("{path} is not there: the guest cannot be started again here");
        finding("start", Severity::Warning, text)
    }));
    Ok(findings)
}

/// Whether the guest's name and UUID are free here.
fn name(needs: &Needs, store: &mut Store) -> Result<Finding> {
    let (name, uuid) = identity(&needs.configuration)?;
    // The guest itself is here if both hosts are one.
    let is_same_host = super::hello()?.boot == needs.boot;
    for id in store.list("/local/domain")? {
        let other = store.read(&format!("/local/domain/{id}/name"))?.unwrap_or_default();
        let path = store.read(&format!("/local/domain/{id}/vm"))?.unwrap_or_default();
        let is_it = path.strip_prefix("/vm/").is_some_and(|other| other.starts_with(uuid));
        if other == format!("{name}{INCOMING}") || !is_same_host && (other == name || is_it) {
            let text = format!("domain {id} here has the guest's name or UUID: '{other}'");
            return Ok(finding("name", Severity::Failed, text));
        }
    }
    Ok(finding("name", Severity::Passed, format!("'{name}' is free")))
}

/// The version of Xen's interface, for example `4.17`.
fn interface() -> Result<String> {
    let info = tools::info()?;
    let part = |name: &str| info.get(name).map(String::as_str).unwrap_or_default();
    let (major, minor) = (part("xen_major"), part("xen_minor"));
    Ok(format!("{major}.{minor}"))
}

/// A version as numbers that can be compared.
fn version(text: &str) -> Vec<u32> {
    text.split('.').filter_map(|number| number.parse().ok()).collect()
}

/// The size of a file or block device in bytes.
fn size(path: &Path) -> Option<u64> {
    let found: Metadata = metadata(path).ok()?;
    if found.file_type().is_block_device() {
        return File::open(path).ok()?.seek(SeekFrom::End(0)).ok();
    }
    found.is_file().then_some(found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("4.17") > version("4.9") && version("4.17") >= version("4.17"));
    }

    #[test]
    fn the_size_of_a_file_is_read_and_a_folder_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("disk");
        std::fs::write(&file, [0; 77]).expect("written");
        assert_eq!((size(&file), size(folder.path())), (Some(77), None));
    }

    #[test]
    fn only_a_running_pv_guest_can_leave() {
        let configuration = serde_json::json!({"c_info": {"type": "pv", "name": "web", "uuid": "u"}});
        let domain =
            |is_paused| Domain { is_paused, is_dying: false, shutdown: None, pages: 1, max_pages: 1, uuid: "u".into() };
        let failures = |id, domain: &Domain, configuration: &Value| {
            let findings = at_source(id, domain, configuration);
            findings.iter().filter(|finding| finding.severity == Severity::Failed).count()
        };
        assert_eq!(failures(1, &domain(false), &configuration), 0);
        assert_eq!(failures(0, &domain(false), &configuration), 1);
        assert_eq!(failures(1, &domain(true), &configuration), 1);
        let incoming = configuration::incoming(&configuration).expect("it has a name");
        assert_eq!(failures(1, &domain(false), &incoming), 1);
        let devices = serde_json::json!({"c_info": {"type": "hvm", "name": "web", "uuid": "u"}, "pcidevs": [{}]});
        assert_eq!(failures(1, &domain(false), &devices), 2);
    }
}
