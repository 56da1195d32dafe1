//! What a migration needs to know of a guest's configuration, as `libxl` writes it in JSON.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The end of the name of a guest that is arriving.
pub const INCOMING: &str = "--incoming";

/// The part of a configuration that describes a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Name in the guest.
    pub device: String,
    /// File or block device.
    pub path: String,
}

/// A guest's name and UUID.
pub fn identity(configuration: &Value) -> Result<(&str, &str)> {
    let text = |name: &str| configuration.pointer(&format!("/c_info/{name}")).and_then(Value::as_str);
    let name = text("name").context("the guest has no name")?;
    ensure!(is_name(name), "'{name}' is not the name of a guest");
    Ok((name, text("uuid").context("the guest has no UUID")?))
}

/// Whether this is a name that is safe in paths of xenstore and of files, and in commands.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+:@".contains(&byte);
    (1..=200).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['-', '.'])
}

/// The configuration for a guest that arrives: it has another name until it may run, and any id.
pub fn incoming(configuration: &Value) -> Result<Value> {
    let (name, _) = identity(configuration)?;
    let name = format!("{name}{INCOMING}");
    let mut configuration = configuration.clone();
    let part = configuration.get_mut("c_info").and_then(Value::as_object_mut).context("there is no 'c_info'")?;
    part.insert("name".into(), name.into());
    part.remove("domid");
    Ok(configuration)
}

/// Whether it is a PV guest.
pub fn is_pv(configuration: &Value) -> bool {
    configuration.pointer("/c_info/type").and_then(Value::as_str) == Some("pv")
}

/// Whether it has devices of the host.
pub fn has_host_devices(configuration: &Value) -> bool {
    ["pcidevs", "dtdevs", "usbdevs"].iter().any(|name| !list(configuration, name).is_empty())
}

/// Its disks that have a file or device.
pub fn disks(configuration: &Value) -> Vec<Disk> {
    list(configuration, "disks")
        .iter()
        .filter_map(|disk| {
            let text = |name: &str| disk.get(name).and_then(Value::as_str).map(str::to_owned);
            let path = text("pdev_path").filter(|path| !path.is_empty())?;
            Some(Disk { device: text("vdev").unwrap_or_default(), path })
        })
        .collect()
}

/// The bridges of its network devices.
pub fn bridges(configuration: &Value) -> Vec<String> {
    let bridge = |nic: &Value| nic.get("bridge").and_then(Value::as_str).map(str::to_owned);
    let mut bridges: Vec<String> = list(configuration, "nics").iter().filter_map(bridge).collect();
    bridges.sort();
    bridges.dedup();
    bridges
}

/// Files that are read when the guest is started again: kernel, ramdisk, boot loader.
pub fn start_files(configuration: &Value) -> Vec<String> {
    let places = [
        "/b_info/kernel",
        "/b_info/ramdisk",
        "/b_info/bootloader",
        "/b_info/type.pv/kernel",
        "/b_info/type.pv/ramdisk",
        "/b_info/type.pv/bootloader",
    ];
    places
        .iter()
        .filter_map(|place| configuration.pointer(place)?.as_str())
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// Number of vCPUs.
pub fn vcpus(configuration: &Value) -> u32 {
    let count = configuration.pointer("/b_info/max_vcpus").and_then(Value::as_u64);
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

fn list<'a>(configuration: &'a Value, name: &str) -> &'a [Value] {
    configuration.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let configuration = json!({
            "c_info": {"type": "pv", "name": "web", "uuid": "u", "domid": 7},
            "b_info": {"max_vcpus": 2, "kernel": "/boot/vmlinuz", "type.pv": {"bootloader": "pygrub"}},
            "disks": [{"vdev": "xvda", "pdev_path": "/tmp/disk"}, {"vdev": "xvdb"}],
            "nics": [{"bridge": "b"}, {"bridge": "a"}, {"bridge": "b"}, {}],
        });
        assert_eq!(identity(&configuration).expect("it has one"), ("web", "u"));
        assert_eq!(disks(&configuration), [Disk { device: "xvda".into(), path: "/tmp/disk".into() }]);
        assert_eq!(bridges(&configuration), ["a", "b"]);
        assert_eq!(start_files(&configuration), ["/boot/vmlinuz"]);
        assert_eq!(vcpus(&configuration), 2);
        assert!(is_pv(&configuration) && !has_host_devices(&configuration));
        let incoming = incoming(&configuration).expect("it has a name");
        assert_eq!(incoming["c_info"], json!({"type": "pv", "name": "web--incoming", "uuid": "u"}));
        assert_eq!(incoming["disks"], configuration["disks"]);
    }

    #[test]
    fn names_that_would_be_paths_or_options_are_refused() {
        for name in ["", "-f", "../x", "a/b", "a b", "a\nb", ".."] {
            let configuration = json!({"c_info": {"name": name, "uuid": "u"}});
            assert!(identity(&configuration).is_err(), "{name}");
        }
    }
}
