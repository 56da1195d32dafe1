//! Parses the arguments of the boot modules (`docs/design.md`, "Boot protocol").

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::iter;
use machine::speculation::MaskedIndex;

use crate::domain::MAX_VCPUS;

const DEFAULT_MEMORY: u64 = 256 << 20;
pub(crate) const MAX_NAME: usize = 32;
const USUAL_WEIGHT: u16 = 256;

/// A guest that a module describes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Guest<'a> {
    pub(super) name: String,
    /// In bytes.
    pub(super) memory: u64,
    pub(super) vcpus: u32,
    pub(super) weight: u16,
    pub(super) cap: u16,
    pub(super) command_line: &'a str,
    /// Index of the boot module.
    pub(super) kernel: usize,
    pub(super) ramdisk: Option<usize>,
}

/// The initial domain that the modules describe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct InitialDomain<'a> {
    pub(super) command_line: &'a str,
    pub(super) kernel: usize,
    pub(super) ramdisk: Option<usize>,
}

/// The domains to start, in order. A guest with invalid arguments has its name and the error
/// instead.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Plan<'a> {
    pub(super) initial_domain: Option<InitialDomain<'a>>,
    pub(super) guests: Vec<Result<Guest<'a>, (String, String)>>,
    /// Modules that are not used.
    pub(super) unused: Vec<usize>,
}

enum Role<'a> {
    /// The module is nothing but microcode, which has been loaded.
    Microcode,
    Guest(&'a str),
    Ramdisk,
    Plain(&'a str),
}

/// Determines a module's role, and its arguments without the file name that the boot loader may
/// have put before them.
fn role(arguments: &str) -> Role<'_> {
    let (first, rest) = split_word(arguments);
    let (second, behind) = split_word(rest);
    match (first, second) {
        ("guest", _) => Role::Guest(rest),
        ("ramdisk", _) => Role::Ramdisk,
        (_, "guest") => Role::Guest(behind),
        (_, "ramdisk") => Role::Ramdisk,
        _ => Role::Plain(rest),
    }
}

/// Splits off the first word and one blank.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(' ');
    text.split_once(' ').unwrap_or((text, ""))
}

impl<'a> Plan<'a> {
    /// Parses the arguments of all modules, of which one may be microcode.
    pub(super) fn new(modules: &[&'a str], microcode: Option<usize>) -> Self {
        let role = |(index, arguments): (usize, &&'a str)| {
            if microcode == Some(index) { Role::Microcode } else { role(arguments) }
        };
        let roles: Vec<Role<'a>> = modules.iter().enumerate().map(role).collect();
        if roles.iter().any(|role| matches!(role, Role::Guest(_))) {
            Self::of_guests(&roles)
        } else {
            Self::of_initial_domain(&roles)
        }
    }

    fn of_initial_domain(roles: &[Role<'a>]) -> Self {
        let Some(Role::Plain(command_line)) = roles.first() else {
            return Self { unused: (0..roles.len()).collect(), ..Self::default() };
        };
        let mut others = (1..roles.len()).filter(|&index| !matches!(roles.masked(index), Some(Role::Microcode)));
        let initial_domain = Some(InitialDomain { command_line, kernel: 0, ramdisk: others.next() });
        Self { initial_domain, unused: others.collect(), ..Self::default() }
    }

    fn of_guests(roles: &[Role<'a>]) -> Self {
        let mut plan = Self::default();
        let before = iter::once(None).chain(roles.iter().map(Some));
        for ((index, role), before) in roles.iter().enumerate().zip(before) {
            match role {
                Role::Guest(arguments) => {
                    let guest = plan.guest(arguments, index);
                    plan.guests.push(guest);
                }
                // The ramdisk of a guest that is not started is unused too, but not reported.
                Role::Ramdisk if matches!(before, Some(Role::Guest(_))) => {
                    if let Some(Ok(guest)) = plan.guests.last_mut() {
                        guest.ramdisk = Some(index);
                    }
                }
                Role::Microcode => {}
                _ => plan.unused.push(index),
            }
        }
        plan
    }

    fn guest(&self, arguments: &'a str, module: usize) -> Result<Guest<'a>, (String, String)> {
        let (options, command_line) = split_command_line(arguments);
        let mut guest = Guest {
            name: format!("guest{}", self.guests.len() + 1),
            memory: DEFAULT_MEMORY,
            vcpus: 1,
            weight: USUAL_WEIGHT,
            cap: 0,
            command_line,
            kernel: module,
            ramdisk: None,
        };
        let result = options.split(' ').filter(|word| !word.is_empty()).try_for_each(|word| guest.apply(word));
        let duplicate = || self.guests.iter().flatten().any(|other| other.name == guest.name);
        let result =
            result.and_then(|()| if duplicate() { Err("another guest has its name".to_string()) } else { Ok(()) });
        match result {
            Ok(()) => Ok(guest),
            Err(why) => Err((guest.name, why)),
        }
    }
}

impl Guest<'_> {
    fn apply(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("option {word:?} has no value"))?;
        let bad = |range: &str| format!("{key}={value:?} is not {range}");
        match key {
            "name" => {
                let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
                if value.is_empty() || value.len() > MAX_NAME || !value.bytes().all(usual) {
                    return Err(bad("a name of letters, digits and -_.+, at most 32"));
                }
                self.name = value.to_string();
            }
            "memory" => self.memory = size(value).ok_or_else(|| bad("a size such as 256M"))?,
            "vcpus" => {
                let vcpus = value.parse().ok().filter(|vcpus| (1..=MAX_VCPUS).contains(vcpus));
                self.vcpus = vcpus.ok_or_else(|| bad(&format!("a number from 1 to {MAX_VCPUS}")))?;
            }
            "weight" => {
                let weight = value.parse().ok().filter(|&weight| weight != 0);
                self.weight = weight.ok_or_else(|| bad("a number from 1 to 65535"))?;
            }
            "cap" => self.cap = value.parse().map_err(|_| bad("a number from 0 to 65535"))?,
            _ => return Err(format!("unknown option {key:?}")),
        }
        Ok(())
    }
}

/// Splits the arguments into options and the kernel's command line, which is the text after the
/// word `--`.
fn split_command_line(arguments: &str) -> (&str, &str) {
    if let Some(command_line) = arguments.strip_prefix("-- ") {
        return ("", command_line);
    }
    match arguments.split_once(" -- ") {
        Some(parts) => parts,
        None => (
            arguments.strip_suffix("--").filter(|rest| rest.is_empty() || rest.ends_with(' ')).unwrap_or(arguments),
            "",
        ),
    }
}

/// Parses a size in bytes: a number with one of the suffixes K, M, G, T.
fn size(text: &str) -> Option<u64> {
    let unit = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    let bytes = number.checked_mul(1 << unit)?;
    // Frame numbers have 32 bits.
    (bytes != 0 && bytes < 1 << 44).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn guests<'a>(modules: &[&'a str]) -> Vec<Result<Guest<'a>, (String, String)>> {
        Plan::new(modules, None).guests
    }

    #[test]
    fn without_guests_the_first_module_is_the_initial_domain() {
        let plan = Plan::new(&["/boot/vmlinuz root=/dev/sda1 quiet", "/boot/initrd.img", "more"], None);
        let initial = InitialDomain { command_line: "root=/dev/sda1 quiet", kernel: 0, ramdisk: Some(1) };
        assert_eq!(plan, Plan { initial_domain: Some(initial), guests: vec![], unused: vec![2] });
    }

    #[test]
    fn a_module_of_microcode_is_no_ramdisk() {
        let initial = |ramdisk| Some(InitialDomain { command_line: "quiet", kernel: 0, ramdisk });
        let modules = ["vmlinuz quiet", "ucode.bin", "initrd.img", "more"];
        for (microcode, ramdisk, unused) in [(1, 2, vec![3]), (3, 1, vec![2]), (2, 1, vec![3])] {
            let plan = Plan::new(&modules, Some(microcode));
            assert_eq!((plan.initial_domain, plan.unused), (initial(Some(ramdisk)), unused));
        }
        assert_eq!(Plan::new(&modules[..2], Some(1)).initial_domain, initial(None));
        let plan = Plan::new(&["guest name=a", "ucode.bin ramdisk", "guest name=b"], Some(1));
        let ramdisks = plan.guests.iter().flatten().map(|guest| guest.ramdisk);
        assert_eq!((ramdisks.collect::<Vec<_>>(), plan.unused), (vec![None; 2], vec![]));
    }

    #[test]
    fn guests_are_described_by_their_arguments() {
        let plan = Plan::new(
            &[
                "target/kernel guest name=web memory=1G vcpus=2 weight=512 cap=50 -- console=hvc0 a=b -- c  d",
                "x.cpio ramdisk",
                "guest",
                "vmlinuz guest -- quiet",
            ],
            None,
        );
        let web = plan.guests[0].as_ref().unwrap();
        assert_eq!((web.name.as_str(), web.memory, web.vcpus), ("web", 1 << 30, 2));
        assert_eq!((web.weight, web.cap, web.ramdisk), (512, 50, Some(1)));
        assert_eq!(web.command_line, "console=hvc0 a=b -- c  d");
        let second = plan.guests[1].as_ref().unwrap();
        assert_eq!(
            (second.name.as_str(), second.memory, second.vcpus, second.command_line),
            ("guest2", 256 << 20, 1, "")
        );
        assert_eq!(plan.guests[2].as_ref().unwrap().command_line, "quiet");
        assert_eq!((plan.initial_domain, plan.unused), (None, vec![]));
    }

    #[test]
    fn ill_formed_options_are_reported() {
        let cases = [
            ("memory=256", "memory=\"256\" is not a size such as 256M"),
            ("memory=0M", "memory=\"0M\" is not a size such as 256M"),
            ("memory=99999999999999999999G", "memory=\"99999999999999999999G\" is not a size such as 256M"),
            ("memory=99999999T", "memory=\"99999999T\" is not a size such as 256M"),
            ("vcpus=0", "vcpus=\"0\" is not a number from 1 to 128"),
            ("vcpus=129", "vcpus=\"129\" is not a number from 1 to 128"),
            ("weight=-1", "weight=\"-1\" is not a number from 1 to 65535"),
            ("colour=blue", "unknown option \"colour\""),
            ("quiet", "option \"quiet\" has no value"),
        ];
        for (option, why) in cases {
            let arguments = format!("k guest name=a {option}");
            assert_eq!(guests(&[&arguments]), [Err((String::from("a"), String::from(why)))]);
        }
        assert!(guests(&["k guest name=[x]"])[0].is_err());
    }

    #[test]
    fn names_are_unique() {
        let plan = guests(&["guest name=a", "ramdisk", "guest name=a", "ramdisk", "guest name=b"]);
        assert!(plan[0].is_ok() && plan[1].is_err() && plan[2].is_ok());
        assert_eq!(plan[2].as_ref().unwrap().ramdisk, None);
    }

    #[test]
    fn modules_without_a_role_are_unused() {
        let plan = Plan::new(&["ramdisk", "guest name=a", "plain", "ramdisk"], None);
        assert_eq!(plan.unused, [0, 2, 3]);
        assert_eq!(Plan::new(&["k ramdisk"], None).unused, [0]);
        assert_eq!(Plan::new(&[], None), Plan::default());
    }
}
