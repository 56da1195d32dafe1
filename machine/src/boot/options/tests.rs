use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn complained(line: &str) -> Vec<String> {
    complaints(line).map(|complaint| complaint.to_string()).collect()
}

#[test]
fn options_with_xens_names_are_understood() {
    let line = "/boot/paravane console=com1,vga com1=9600,8n1,0x2f8,3 loglvl=all guest_loglvl=error/warning noreboot \
                dom0_mem=512M,max:1G dom0_max_vcpus=2-4 maxcpus=3 guest_console=raw:a guest_console=raw:b";
    let options = Options::parse(line);
    assert_eq!(complained(line), [""; 0]);
    assert!(options.consoles.serial[0] && options.consoles.vga && options.no_reboot);
    assert_eq!((options.serial[0].baud, options.serial[0].irq), (Some(9600), 3));
    assert_eq!((options.log_level, options.guest_log_level), (LevelFilter::Trace, LevelFilter::Warn));
    let memory = Dom0Memory { initial: Some(Amount::of(512 << 20)), min: None, max: Some(Amount::of(1 << 30)) };
    assert_eq!(options.dom0_memory, memory);
    assert_eq!((options.dom0_vcpus, options.max_cpus), (2..=4, Some(3)));
    assert_eq!(options.raw_guest_console, Some("b"));
}

#[test]
fn booleans_have_xens_forms() {
    let no_reboot = |line| Options::parse(line).no_reboot;
    for on in
        ["noreboot", "noreboot=", "noreboot=1", "noreboot=enable", "noreboot=on", "no-noreboot=no", "reboot=no,warm"]
    {
        assert!(no_reboot(on), "{on}");
    }
    for off in ["", "noreboot=no", "noreboot=disable", "no-noreboot", "noreboot no-noreboot", "noreboot=perhaps"] {
        assert!(!no_reboot(off), "{off}");
    }
    assert!(Options::parse("dom0-vcpus-pin").dom0_vcpus_pinned, "a hyphen is an underscore");
    assert_eq!(Options::parse("maxcpus=4 nosmp").max_cpus, Some(1));
    assert_eq!(Options::parse("nosmp=off").max_cpus, None);
}

#[test]
fn an_invalid_value_is_reported_with_the_syntax() {
    let line = "maxcpus=0 com1=x loglvl= dom0_mem=99999999999T frob noreboot=perhaps no-maxcpus=2 console";
    let options = Options::parse(line);
    assert_eq!((options.max_cpus, options.no_reboot, options.dom0_memory), (None, false, Dom0Memory::default()));
    let said = complained(line);
    assert_eq!(said.len(), 8, "{said:?}");
    assert_eq!(said[0], "option \"maxcpus=0\" is not maxcpus=NUMBER");
    assert_eq!(said[4], "option \"frob\" is not known");
}

#[test]
fn an_option_without_effect_is_reported_once() {
    let said = complained("smt-x=1 iommu=no iommu=verbose no-iommu smt_x=2 sched=credit2");
    assert_eq!(said.len(), 4, "{said:?}");
    assert_eq!(said[0], "option \"smt-x=1\" is not known");
    assert!(said[1].starts_with("option \"iommu=no\" has no effect here: "), "{said:?}");
}

#[test]
fn every_word_of_distributions_is_known() {
    for line in [
        // Debian: its GRUB menu, BIOS and EFI, and the recommendations of its wiki.
        "placeholder dom0_mem=4G,max:4G dom0_max_vcpus=2 dom0_vcpus_pin no-real-mode edd=off",
        "placeholder com1=115200,8n1 console=com1,vga loglvl=all guest_loglvl=all sync_console console_timestamps=date",
        // Qubes
        "placeholder console=none dom0_mem=min:1024M dom0_mem=max:4096M ucode=scan smt=off gnttab_max_frames=2048 \
         gnttab_max_maptrack_frames=4096",
        // XCP-ng
        "dom0_mem=2608M,max:2608M watchdog ucode=scan dom0_max_vcpus=1-16 crashkernel=256M,below=4G console=vga \
         vga=mode-0x0311",
        // Other options in common use.
        "dom0_nodes=0 iommu=verbose,no-intremap cpufreq=xen:performance sched=credit sched-gran=core conring_size=1M xpti=off \
         spec-ctrl=no tsx=1 efi=no-rs nmi=dom0 noirqbalance x2apic=off hpet=legacy-replacement cpuid=no-rdrand \
         pv-l1tf=off flask=disabled gdb=com2 edid=no clocksource=tsc cpuidle=off max_cstate=1 mem=4G \
         tickle_one_idle_cpu credit2_runqueue=node reboot=acpi watchdog_timeout=60 dom0=pv bootscrub=off \
         apic_verbosity=debug e820-verbose=yes extra_guest_irqs=64 msi=0 pcid=0 smep=off smap=off vpmu=bts \
         timer_slop=5000 sched_ratelimit_us=500 mwait-idle=0 preferred-cstates=C1 no-hap ivrs_ioapic[4]=00:14.0 no-pku",
    ] {
        let unknown = complaints(line).filter(|complaint| !matches!(complaint, Complaint::WithoutEffect(..)));
        let unknown: Vec<String> = unknown.map(|complaint| complaint.to_string()).collect();
        assert_eq!(unknown, [""; 0]);
    }
}

#[test]
fn a_placeholder_and_the_images_name_are_skipped() {
    assert_eq!(complained("placeholder"), [""; 0]);
    assert_eq!(complained("/boot/xen.gz"), [""; 0]);
    assert_eq!(complained("noreboot placeholder /boot/xen.gz").len(), 2, "only at the start of the line");
}

#[test]
fn text_after_two_hyphens_goes_to_the_initial_domain() {
    let options = Options::parse("noreboot --  quiet maxcpus=2 -- x");
    assert_eq!((options.dom0_command_line, options.max_cpus), ("quiet maxcpus=2 -- x", None));
    assert_eq!(complained("noreboot -- quiet"), [""; 0]);
    assert_eq!(Options::parse("noreboot").dom0_command_line, "");
}

#[test]
fn no_word_is_lost_however_many_and_long_they_are() {
    let mut line = String::new();
    (0..1000).for_each(|number| line += &std::format!("x{number} sched=rtds "));
    line += &"y".repeat(5000);
    line += " maxcpus=2";
    assert_eq!(Options::parse(&line).max_cpus, Some(2));
    let said = complained(&line);
    assert_eq!(said.len(), 1002);
    assert!(said[1001].len() < 200 && said[1001].ends_with("...\" is not known"), "{}", said[1001]);
}

#[test]
fn core_scheduling_is_chosen_by_the_granularity() {
    assert!(Options::parse("sched-gran=core").core_scheduling);
    assert!(!Options::parse("sched-gran=core sched-gran=cpu").core_scheduling);
    assert_eq!(complained("sched-gran=core"), [""; 0]);
    for (word, complaint) in [("sched-gran=socket", "may share a package"), ("sched-gran=node", "is not sched-gran=")] {
        assert!(!Options::parse(word).core_scheduling);
        assert!(complained(word)[0].contains(complaint), "{:?}", complained(word));
    }
}

#[test]
fn the_initial_domains_vcpus_are_a_number_or_a_range() {
    let vcpus = |text: &str| Options::parse(text).dom0_vcpus;
    assert_eq!(vcpus("dom0_max_vcpus=3"), 3..=3);
    assert_eq!(vcpus("dom0_max_vcpus=2-"), 2..=u32::MAX);
    assert_eq!(vcpus("dom0_max_vcpus=-4"), 1..=4);
    for wrong in ["dom0_max_vcpus=0", "dom0_max_vcpus=4-2", "dom0_max_vcpus=x"] {
        assert_eq!(vcpus(wrong), 1..=u32::MAX, "{wrong}");
    }
}

#[test]
fn names_are_unique_and_in_order() {
    let key = |row: &Row| row.name.replace('_', "-");
    for pair in TABLE.windows(2) {
        assert!(key(&pair[0]) < key(&pair[1]), "{} before {}", pair[0].name, pair[1].name);
    }
}

#[test]
fn microcode_is_searched_or_in_a_module_of_its_own() {
    use MicrocodeSource::{Module, None, Scan};
    for (line, source, same) in [
        ("", Scan, false),
        ("ucode=scan", Scan, false),
        ("ucode=no-scan", None, false),
        ("ucode=scan=off,allow-same", None, true),
        ("ucode=2", Module(2), false),
        ("ucode=-1,nmi=no", Module(-1), false),
        ("ucode=0x10,allow-same=yes", Module(16), true),
        ("ucode=-1 ucode=scan", Scan, false),
        ("ucode=3,scan=perhaps", Module(3), false),
        ("ucode=0", Scan, false),
        ("ucode=--1", Scan, false),
        ("ucode=file.bin", Scan, false),
        ("ucode", Scan, false),
    ] {
        assert_eq!(Options::parse(line).microcode, Microcode { source, same }, "{line}");
    }
    for line in ["ucode=scan,no-nmi,digest-check=no", "ucode=-1"] {
        assert_eq!(complained(line), [""; 0]);
    }
    assert!(complained("ucode=nmi")[0].contains("no effect here"), "{:?}", complained("ucode=nmi"));
    assert!(complained("ucode=digest-check")[0].contains("no effect here"));
    assert!(complained("ucode=scan,0")[0].contains("part \"0\""), "{:?}", complained("ucode=scan,0"));
    let module = |number| Module(number).module(3);
    assert_eq!([1, 2, -1, -2].map(module), [Some(1), Some(2), Some(2), Some(1)]);
    for outside in [0, 3, -3, -4, i32::MAX, i32::MIN] {
        assert_eq!(module(outside), Option::None, "{outside}");
    }
    assert_eq!(Scan.module(3), Option::None);
}

#[test]
fn limits_of_grants_are_xens_by_default() {
    let limits = |text| {
        let options = Options::parse(text);
        (options.grant_frames, options.maptrack_frames)
    };
    assert_eq!(limits(""), (64, 1024));
    assert_eq!(limits("gnttab_max_frames=2048 gnttab_max_maptrack_frames=0x1000"), (2048, 4096));
    assert_eq!(limits("gnttab_max_frames=2147483647"), (MAX_GRANT_FRAMES, 1024));
    assert_eq!(limits("gnttab_max_maptrack_frames=2147483647"), (64, MAX_MAPTRACK_FRAMES));
    for wrong in ["gnttab_max_frames=0", "gnttab_max_frames=-1", "gnttab_max_frames=2147483648", "gnttab_max_frames"] {
        assert_eq!(limits(wrong), (64, 1024), "{wrong}");
    }
    assert_eq!(limits("gnttab_max_maptrack_frames=0"), (64, 0), "no domain maps any grant");
}

#[test]
fn defences_have_xens_syntax() {
    let choices = |line| Options::parse(line).defences;
    let xpti = |line| (choices(line).xpti.dom0, choices(line).xpti.domu);
    assert_eq!(xpti(""), (None, None));
    for on in ["xpti", "xpti=yes", "xpti=no,true", "xpti=no xpti=dom0,domu"] {
        assert_eq!(xpti(on), (Some(true), Some(true)), "{on}");
    }
    for off in ["no-xpti", "xpti=off", "xpti=dom0=0,no-domu"] {
        assert_eq!(xpti(off), (Some(false), Some(false)), "{off}");
    }
    assert_eq!(xpti("xpti=no-dom0"), (Some(false), None));
    assert_eq!(xpti("xpti=no,default"), (None, None));
    let l1tf = |line| (choices(line).pv_l1tf.dom0, choices(line).pv_l1tf.domu);
    assert_eq!(l1tf("pv-l1tf"), (Some(true), Some(true)));
    assert_eq!(l1tf("pv-l1tf=domu=no"), (None, Some(false)));
    assert_eq!(choices("pcid=no-xpti").pcid, PcidUse::OneRoot);
    assert_eq!(choices("pcid").pcid, PcidUse::Always);
    assert_eq!((choices("smt=off").smt, choices("no-smt").smt), (Some(false), Some(false)));
    assert_eq!((choices("tsx").tsx, choices("tsx=0").tsx), (Tsx::On, Tsx::Off));
}

#[test]
fn spec_ctrl_no_decides_what_no_earlier_option_has() {
    let choices = |line| Options::parse(line).defences;
    let all = choices("spec-ctrl=no");
    assert_eq!(all.xpti, PerDomain { dom0: Some(false), domu: Some(false) });
    assert_eq!((all.pv_l1tf.domu, all.smt, all.tsx), (Some(false), Some(true), Tsx::AsFound));
    let earlier = choices("xpti=domu smt=0 tsx=0 spec-ctrl=no");
    assert_eq!(earlier.xpti, PerDomain { dom0: Some(false), domu: Some(true) });
    assert_eq!((earlier.smt, earlier.tsx), (Some(false), Tsx::Off));
    assert_eq!(choices("spec-ctrl=no xpti=default").xpti, PerDomain::default());
    assert_eq!(choices("spec-ctrl=no-xen").xpti, PerDomain::default());
}

#[test]
fn an_unknown_part_is_reported_once_and_the_others_are_applied() {
    let line = "spec-ctrl=frob,verw,xen,bti-thunk=x spec-ctrl=frob,verw,xen,bti-thunk=x xpti=x pv-l1tf=default ucode=0";
    assert_eq!(Options::parse(line).defences.spec_ctrl.verw, Some(true));
    assert_eq!(
        complained(line),
        [
            "part \"frob\" of option \"spec-ctrl\" is not known",
            "part \"x\" of option \"xpti\" is not known",
            "part \"default\" of option \"pv-l1tf\" is not known",
            "part \"0\" of option \"ucode\" is not known",
        ]
    );
    for wrong in ["spec-ctrl", "spec-ctrl=yes", "spec-ctrl=", "spec-ctrl=xen=yes", "spec-ctrl=no-no", "pcid=x", "tsx=x"]
    {
        assert_eq!(complained(wrong).len(), 1, "{wrong}");
        assert_eq!(Options::parse(wrong).defences, Choices::DEFAULT, "{wrong}");
    }
}

#[test]
fn the_options_in_force_are_printed_as_they_are_given() {
    for line in [
        "xpti=default pcid=xpti pv-l1tf=default smt=default tsx=default spec-ctrl=default",
        "xpti=no pcid=xpti pv-l1tf=no smt=yes tsx=unchanged spec-ctrl=no",
        "xpti=dom0=no pcid=no pv-l1tf=dom0=yes,domu=no smt=no tsx=yes spec-ctrl=ibpb=no",
    ] {
        assert_eq!(Options::parse(&line.replace("tsx=unchanged ", "")).defences.to_string(), line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 1000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_list_of_parts_is_parsed(
        name in prop_oneof!["xpti", "pv-l1tf", "pcid", "ucode", "spec-ctrl", "tsx", "smt"],
        list in "([a-z0-9=,-]{0,12}|no|yes|xen|pv|hvm|rsb|verw|bti-thunk|,|=|no-){0,12}|\\PC{0,40}",
    ) {
        let line = std::format!("{name}={list}");
        let choices = Options::parse(&line).defences;
        for complaint in complaints(&line) {
            prop_assert!(complaint.to_string().len() < 300);
        }
        // A list that is applied twice has the effect of one, except that `no` looks back.
        if !list.contains("no") {
            prop_assert_eq!(Options::parse(&[&line, " ", &line].concat()).defences, choices);
        }
    }
}
