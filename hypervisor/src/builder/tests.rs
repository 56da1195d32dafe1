//! Domains built from small synthetic kernels, and from distribution kernels if the build has
//! fetched any.

use std::path::{Path, PathBuf};
use std::string::ToString;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;
use std::{fs, vec};

use abi::elfnote::kind;
use abi::xen::{DomainId, SharedInfo, StartInfo, sif};
use machine::addr::{GuestVirt, Mfn, PAGE_SIZE, Pfn};
use machine::frames::{KindCode, L4, TypedRef};
use machine::hosted::mmu::{Access, walk};
use machine::{frames, hosted, m2p};
use zerocopy::FromBytes;

use super::notes::tests::{identity, note};
use super::*;
use crate::domain::Settings;

const BASE: u64 = 0xffff_ffff_8000_0000;
const LIST: u64 = 0x80_0000_0000;

/// Locks the simulated machine, of which a process has one.
fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<bool> = Mutex::new(false);
    static TESTS: Mutex<()> = Mutex::new(());
    let guard = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut started = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    if !core::mem::replace(&mut *started, true) {
        hosted::start((640 << 20) / PAGE_SIZE as u64);
        crate::cpu_policy::init();
    }
    guard
}

fn domain(id: u16, memory: u64) -> Arc<Domain> {
    let settings = Settings {
        name: "test".into(),
        privileged: id == 0,
        vcpus: 2,
        max_frames: u32::try_from(memory / PAGE_SIZE as u64).unwrap(),
        weight: 256,
        cap: 0,
    };
    Domain::new(DomainId(id), settings).unwrap()
}

/// A kernel of three pages at 1 MiB, the second for hypercalls, followed by a page of zeros.
fn elf(notes: &[Vec<u8>]) -> Vec<u8> {
    elf_at(0x10_0000, notes)
}

/// The same kernel at another address.
fn elf_at(place: u64, notes: &[Vec<u8>]) -> Vec<u8> {
    let notes = notes.concat();
    let mut file = vec![0; 64 + 2 * 56];
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    file[20] = 1;
    file[32] = 64;
    file[52..58].copy_from_slice(&[64, 0, 56, 0, 2, 0]);
    let mut header = |index: usize, words: [u64; 7]| {
        for (number, word) in words.into_iter().enumerate() {
            let at = 64 + index * 56 + number * 8;
            file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    };
    // type and flags, offset, virtual, physical, file size, memory size, alignment
    header(0, [1 | 7 << 32, 4096, BASE + place, place, 3 * 4096, 4 * 4096, 4096]);
    header(1, [4 | 4 << 32, 4 * 4096, 0, 0, notes.len() as u64, notes.len() as u64, 4]);
    file.resize(4096, 0);
    for page in 1..=3u8 {
        file.resize(file.len() + 4096, page);
    }
    file.extend(notes);
    file
}

fn quad(kind: u32, value: u64) -> Vec<u8> {
    note(kind, &value.to_le_bytes())
}

fn usual_notes() -> Vec<Vec<u8>> {
    vec![
        identity(),
        quad(kind::VIRT_BASE, BASE),
        quad(kind::ENTRY, BASE + 0x10_0010),
        quad(kind::HYPERCALL_PAGE, BASE + 0x10_1000),
    ]
}

fn linux_notes() -> Vec<Vec<u8>> {
    let mut notes = usual_notes();
    notes.push(quad(kind::INIT_P2M, LIST));
    notes.push(note(kind::MOD_START_PFN, &1u32.to_le_bytes()));
    notes
}

/// The environment that a started domain sees.
struct View<'a> {
    domain: &'a Arc<Domain>,
    root: Mfn,
    info: StartInfo,
    start_info: u64,
    stack: u64,
}

impl<'a> View<'a> {
    fn new(domain: &'a Arc<Domain>) -> Self {
        let vcpu = &domain.vcpus()[0];
        assert!(vcpu.is_up() && vcpu.is_initialised() && !domain.vcpus()[1].is_up());
        let parked = vcpu.parked();
        let context = parked.as_ref().unwrap();
        let root = context.kernel_root().unwrap().mfn();
        let (start_info, stack) = (context.registers().rsi, context.registers().rsp);
        assert!(context.is_in_kernel() && context.registers().rip & 0xf_ffff == 0x10);
        drop(parked);
        let mut bytes = [0; size_of::<StartInfo>()];
        let frame = walk(root, GuestVirt::new(start_info), Access::Read).unwrap();
        domain.frame(frame).unwrap().copy_out(0, &mut bytes);
        Self { domain, root, info: StartInfo::read_from_bytes(&bytes).unwrap(), start_info, stack }
    }

    fn frame(&self, address: u64, access: Access) -> Option<Mfn> {
        walk(self.root, GuestVirt::new(address), access)
    }

    fn bytes<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let frame = self.frame(address, Access::Read).unwrap();
        let offset = GuestVirt::new(address).page_offset();
        self.domain.frame(frame).unwrap().copy_out(offset, &mut bytes);
        bytes
    }

    fn word(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.bytes(address))
    }

    /// The frames of the tables that map a P2M list outside the initial mapping.
    fn list_tables(&self) -> core::ops::Range<u64> {
        let list = (self.info.page_count * 8).div_ceil(4096);
        self.info.first_p2m_pfn + list..self.info.first_p2m_pfn + self.info.p2m_frame_count
    }

    /// The P2M list, the M2P and the mapping from `BASE` on agree. Page tables are read-only, all
    /// other frames are writable.
    fn check_memory(&self) {
        for pfn in 0..self.info.page_count {
            let mfn = Mfn::new(self.word(self.info.mfn_list + pfn * 8));
            assert_eq!(m2p::get(mfn), Pfn::new(pfn));
            assert_eq!(self.domain.frame(mfn).unwrap().owner(), self.domain.id());
        }
        let tables = self.info.page_table_base..self.info.page_table_base + self.info.page_table_frame_count * 4096;
        let mut mapped = 0;
        while let Some(frame) = self.frame(BASE + mapped * 4096, Access::Read) {
            let address = BASE + mapped * 4096;
            assert_eq!(frame.get(), self.word(self.info.mfn_list + mapped * 8));
            let kind = self.domain.frame(frame).unwrap().current_kind().0;
            if tables.contains(&address) || self.list_tables().contains(&mapped) {
                assert!(self.frame(address, Access::Write).is_none());
                assert!(!matches!(kind, KindCode::Writable | KindCode::None));
            } else {
                assert_eq!(self.frame(address, Access::Write), Some(frame));
                assert_eq!(kind, KindCode::Writable);
            }
            mapped += 1;
        }
        assert!((mapped * 4096).is_multiple_of(4 << 20));
        assert!(BASE + mapped * 4096 >= self.stack + (512 << 10));
        assert_eq!(self.frame(self.info.page_table_base, Access::Read), Some(self.root));
    }
}

/// Releases the memory of a domain to the extent that the builder has allocated it.
fn release_memory(domain: &Domain) {
    let root = domain.vcpus()[0].parked().as_mut().map(|context| context.set_roots(None, None));
    let mfn = root.as_ref().and_then(|(kernel, _)| kernel.as_ref()).map(TypedRef::mfn);
    drop(root);
    if let Some(frame) = mfn.and_then(|mfn| domain.frame(mfn)) {
        drop(TypedRef::<L4>::unpin(&frame));
    }
    memory::give_back(domain);
}

fn open(file: &[u8]) -> Image<'_> {
    Image::open(file).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_plain_kernel_gets_everything_mapped() {
    let _machine = machine();
    let file = elf(&usual_notes());
    let domain = domain(1, 16 << 20);
    let ramdisk = vec![9; 5000];
    build(&domain, &open(&file), Some(&ramdisk), "a  b=\"c\"").unwrap();
    let view = View::new(&domain);
    view.check_memory();
    let info = &view.info;
    assert!(info.magic.starts_with(b"xen-3.0-x86_64\0"));
    assert_eq!(info.page_count, 4096);
    assert_eq!(info.flags, 0);
    assert!(info.command_line.starts_with(b"a  b=\"c\"\0"));
    assert_eq!(info.shared_info, domain.shared_info().frame().mfn().address().get());
    assert_eq!((info.first_p2m_pfn, info.p2m_frame_count), (0, 0));
    // kernel, ramdisk, list, start info, store, console, page tables, stack
    assert_eq!((info.module_start, info.module_length), (BASE + 0x10_4000, 5000));
    assert_eq!(view.bytes::<904>(info.module_start + 4096), [[9; 904]].concat()[..]);
    assert_eq!(info.mfn_list, BASE + 0x10_6000);
    assert_eq!(info.store_mfn, view.frame(BASE + 0x10_f000, Access::Write).unwrap().get());
    assert_eq!(info.console_mfn, view.frame(BASE + 0x11_0000, Access::Write).unwrap().get());
    assert_ne!(info.console_event_channel, info.store_event_channel);
    assert_eq!(info.page_table_base, BASE + 0x11_1000);
    assert_eq!(view.stack, info.page_table_base + (info.page_table_frame_count + 1) * 4096);
    // the kernel, with the zeros after it and its hypercall page
    assert_eq!(view.bytes::<4096>(BASE + 0x10_0000), [1; 4096]);
    assert_eq!(view.bytes::<4096>(BASE + 0x10_2000), [3; 4096]);
    assert_eq!(view.bytes::<4096>(BASE + 0x10_3000), [0; 4096]);
    let call = [0x51, 0x41, 0x53, 0xb8, 29, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3, 0xcc];
    assert_eq!(view.bytes::<15>(BASE + 0x10_1000 + 29 * 32), call);
    assert_eq!(view.bytes::<12>(BASE + 0x10_1000 + 23 * 32)[..5], [0x51, 0x41, 0x53, 0x50, 0xb8]);
    let mask = domain.shared_info().atomic_u8(core::mem::offset_of!(SharedInfo, vcpu_info) + 1);
    assert_eq!(mask.load(core::sync::atomic::Ordering::Relaxed), 1);
    release_memory(&domain);
}

#[test]
fn a_kernel_may_have_its_list_and_ramdisk_elsewhere() {
    let _machine = machine();
    let file = elf(&linux_notes());
    let domain = domain(2, 32 << 20);
    build(&domain, &open(&file), Some(&[7; 4097]), "").unwrap();
    let view = View::new(&domain);
    view.check_memory();
    let info = &view.info;
    assert_eq!(info.mfn_list, LIST);
    assert_eq!(info.flags, sif::MOD_START_PFN);
    // 16 frames of list, and an L3, L2 and L1 table for them
    assert_eq!((info.first_p2m_pfn, info.p2m_frame_count), (1024, 19));
    assert_eq!(info.module_start, 1024 + 19);
    assert!(view.frame(LIST, Access::Write).is_some());
    assert!(view.frame(LIST + 16 * 4096, Access::Read).is_none());
    let ramdisk = Mfn::new(view.word(LIST + (info.module_start + 1) * 8));
    let mut bytes = [0; 2];
    domain.frame(ramdisk).unwrap().copy_out(0, &mut bytes);
    assert_eq!(bytes, [7, 0]);
    release_memory(&domain);
}

#[test]
fn a_small_domain_has_its_list_and_ramdisk_below_the_kernel() {
    let _machine = machine();
    let notes = [
        identity(),
        quad(kind::VIRT_BASE, BASE),
        quad(kind::ENTRY, BASE + 0x30_0010),
        quad(kind::INIT_P2M, LIST),
        note(kind::MOD_START_PFN, &1u32.to_le_bytes()),
    ];
    let file = elf_at(0x30_0000, &notes);
    // all of it is mapped, so no frames remain after the mapping
    let domain = domain(6, 4 << 20);
    build(&domain, &open(&file), Some(&[7; 4097]), "").unwrap();
    let view = View::new(&domain);
    view.check_memory();
    let info = &view.info;
    // 2 frames of list, and an L3, L2 and L1 table for them
    assert_eq!((info.mfn_list, info.first_p2m_pfn, info.p2m_frame_count), (LIST, 256, 5));
    assert_eq!((info.flags, info.module_start, info.module_length), (0, BASE + (256 + 5) * 4096, 4097));
    assert_eq!(view.bytes(info.module_start + 4096), [7, 0]);
    release_memory(&domain);
    // the ramdisk is too large for the memory below the kernel
    let domain = self::domain(7, 4 << 20);
    let error = build(&domain, &open(&file), Some(&[7; 3 << 20]), "").unwrap_err();
    assert_eq!(error.to_string(), "too little memory: 4 MiB given, 8 MiB needed by kernel and ramdisk");
}

/// The same kernel with entry point `entry`, with `text` as its `__xen_guest` section and physical
/// addresses as in such kernels.
fn legacy_elf(entry: u64, text: &[u8]) -> Vec<u8> {
    let mut file = elf(&[]);
    file[24..32].copy_from_slice(&entry.to_le_bytes());
    file[64 + 24..64 + 32].copy_from_slice(&(BASE + 0x10_0000).to_le_bytes());
    let names = b"\0__xen_guest\0";
    let (text_at, names_at) = (file.len(), file.len() + text.len());
    file.extend([text, names].concat());
    let table = file.len();
    // a section is: name and type (program contents, or names), flags, address, offset, length,
    // other fields
    let section = |kind: u64, offset: usize, length: usize| [kind, 0, 0, offset as u64, length as u64, 0, 1, 0];
    let sections =
        [section(0, 0, 0), section(1 | 1 << 32, text_at, text.len()), section(3 << 32, names_at, names.len())];
    file.extend(sections.iter().flatten().flat_map(|word| word.to_le_bytes()));
    file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    file[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
    file
}

const TEXT: &str = "GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0xffffffff80000000,HYPERCALL_PAGE=0x101,LOADER=generic";

#[test]
fn kernels_with_no_entry_note_or_no_note_at_all_are_built() {
    let _machine = machine();
    let mut notes = usual_notes();
    notes.remove(2);
    let mut plain = elf(&notes);
    plain[24..32].copy_from_slice(&(BASE + 0x10_0010).to_le_bytes());
    for file in [
        plain,
        legacy_elf(BASE + 0x10_0010, TEXT.as_bytes()),
        legacy_elf(0, &[TEXT.as_bytes(), b",VIRT_ENTRY=0xffffffff80100010\0"].concat()),
    ] {
        let domain = domain(1, 16 << 20);
        build(&domain, &open(&file), None, "").unwrap();
        let view = View::new(&domain);
        view.check_memory();
        assert_eq!(domain.vcpus()[0].parked().as_ref().unwrap().registers().rip, BASE + 0x10_0010);
        assert_eq!(view.bytes::<4096>(BASE + 0x10_2000), [3; 4096]);
        assert_eq!(view.bytes::<3>(BASE + 0x10_1000), [0x51, 0x41, 0x53]);
        release_memory(&domain);
    }
    // the file's entry point is validated like a note's
    for entry in [BASE, BASE + 0x10_4000] {
        let file = legacy_elf(entry, TEXT.as_bytes());
        let error = build(&domain(1, 16 << 20), &open(&file), None, "").unwrap_err();
        assert_eq!(error.to_string(), "malformed layout: the entry point lies outside the kernel");
    }
}

#[test]
fn damaged_sections_are_no_notes() {
    let _machine = machine();
    let why = |file: &[u8]| Image::open(file).err().map(|error| error.to_string()).unwrap_or_default();
    let good = legacy_elf(BASE + 0x10_0010, TEXT.as_bytes());
    assert_eq!(why(&good), "");
    let table = good.len() - 3 * 64;
    for at in (24..64).chain(table..good.len()) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut file = good.clone();
            file[at] = value;
            drop(Image::open(&file));
        }
    }
    let mut file = good.clone();
    // the offset of the text
    file[table + 64 + 24 + 7] = 1;
    assert_eq!(why(&file), "malformed ELF file: its __xen_guest section cannot be read");
    for length in 0..good.len() {
        assert!(Image::open(&good[..length]).is_err(), "{length} of {} bytes are a kernel", good.len());
    }
}

#[test]
fn the_initial_domain_has_no_rings() {
    let _machine = machine();
    let file = elf(&usual_notes());
    let domain = domain(0, 16 << 20);
    build(&domain, &open(&file), None, "").unwrap();
    let view = View::new(&domain);
    view.check_memory();
    assert_eq!(view.info.flags, sif::PRIVILEGED | sif::INITDOMAIN);
    assert_eq!((view.info.store_mfn, view.info.store_event_channel), (0, 0));
    assert_eq!(view.info.console_mfn, 1168 | 40 << 32, "offset and size of the screen's description");
    assert_eq!(Some(view.bytes(view.start_info + 1168)), console::screen::description());
    assert_eq!((view.info.module_start, view.info.module_length), (0, 0));
    release_memory(&domain);
}

#[test]
fn a_failed_build_releases_all_frames() {
    let _machine = machine();
    let free = frames::free_frames();
    let refuse = |notes: &[Vec<u8>], id, memory, ramdisk: usize, command_line: &str| {
        let file = elf(notes);
        let domain = domain(id, memory);
        let ramdisk = vec![0; ramdisk];
        let error = build(&domain, &open(&file), Some(&ramdisk), command_line).unwrap_err();
        assert!(domain.frames.is_empty());
        drop(domain);
        assert_eq!(frames::free_frames(), free, "{error}");
        error.to_string()
    };
    assert_eq!(
        refuse(&usual_notes(), 1, 2 << 20, 0, ""),
        "too little memory: 2 MiB given, 4 MiB needed by kernel and ramdisk"
    );
    assert_eq!(
        refuse(&linux_notes(), 1, 16 << 20, 20 << 20, ""),
        "too little memory: 16 MiB given, 25 MiB needed by kernel and ramdisk"
    );
    assert!(refuse(&usual_notes(), 1, 4 << 30, 0, "").starts_with("too little memory: 4096 MiB needed, "));
    assert!(refuse(&usual_notes(), 1, 16 << 20, 0, &"x".repeat(1024)).contains("1024 bytes"));
    let mut notes = usual_notes();
    notes.push(note(kind::SUPPORTED_FEATURES, &1u32.to_le_bytes()));
    assert!(refuse(&notes, 0, 16 << 20, 0, "").ends_with("install one that can (linux-image-amd64)"));
    for (kind, value) in [
        (kind::ENTRY, BASE),
        (kind::ENTRY, 0),
        (kind::HYPERCALL_PAGE, BASE + 0x10_4000),
        (kind::HYPERCALL_PAGE, 0),
        (kind::INIT_P2M, BASE),
        (kind::INIT_P2M, BASE + (3 << 20)),
        (kind::INIT_P2M, 0x7fff_ffff_f000),
        (kind::INIT_P2M, 0xffff_ffff_ffff_f000),
        (kind::VIRT_BASE, 0xffff_ffff_ff00_0000),
    ] {
        let mut notes = usual_notes();
        notes.push(quad(kind, value));
        assert!(refuse(&notes, 1, 16 << 20, 0, "").starts_with("malformed layout: "), "{kind} {value:#x}");
    }
}

#[test]
fn lists_beside_the_kernel_share_its_tables() {
    let _machine = machine();
    // Just after the initial mapping; below the kernel in the same L2 table; in another L4 slot of
    // the upper half.
    for (id, list) in [(3, BASE + (4 << 20)), (4, BASE - 0x1000 * 8), (5, 0xffff_8800_0000_0000)] {
        let mut notes = usual_notes();
        notes.push(quad(kind::INIT_P2M, list));
        let domain = domain(id, 16 << 20);
        build(&domain, &open(&elf(&notes)), None, "").unwrap();
        let view = View::new(&domain);
        for pfn in [0, 4095] {
            assert_eq!(m2p::get(Mfn::new(view.word(list + pfn * 8))), Pfn::new(pfn));
        }
        release_memory(&domain);
    }
}

#[test]
fn files_that_are_not_kernels_have_distinct_errors() {
    let _machine = machine();
    let why = |file: &[u8]| Image::open(file).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(why(&[]), "no kernel: it is neither a bzImage nor an ELF file");
    assert_eq!(why(&[0; 8192]), "no kernel: it is neither a bzImage nor an ELF file");
    assert!(why(&elf(&[])).starts_with("no Xen PV entry: the kernel has no Xen ELF notes"));
    assert!(why(&elf(&usual_notes())[..100]).starts_with("malformed ELF file"));
    let mut wrong = elf(&usual_notes());
    wrong[18] = 40;
    assert_eq!(why(&wrong), "malformed ELF file: it is not for 64-bit x86");
    let mut file = elf(&usual_notes());
    // every single byte of the headers, changed
    for at in 0..64 + 2 * 56 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let before = core::mem::replace(&mut file[at], value);
            let _ = Image::open(&file).map(|image| {
                let needs = layout::Needs { kernel: image.kernel(), ramdisk: Some(1), memory: 4096, has_rings: true };
                let _ = Layout::new(&needs);
            });
            file[at] = before;
        }
    }
}

/// A file as a legacy frame of lz4 with one block of literals, followed by the decompressed size.
fn packed(file: &[u8]) -> Vec<u8> {
    let more = file.len() - 15;
    let mut block = vec![0xf0];
    block.extend(core::iter::repeat_n(0xff, more / 255));
    block.push((more % 255) as u8);
    block.extend(file);
    let magic = 0x184c_2102u32;
    let words = [magic, block.len() as u32].map(u32::to_le_bytes);
    [&words.concat(), &block[..], &(file.len() as u32).to_le_bytes()].concat()
}

#[test]
fn a_compressed_kernel_is_opened_like_a_plain_one() {
    let _machine = machine();
    let free = frames::free_frames();
    let plain = elf(&usual_notes());
    let mut file = packed(&plain);
    assert!(open(&file).bytes() == plain);
    let why = |file: &[u8]| Image::open(file).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(why(&packed(&[0; 4096])), "no kernel: it is neither a bzImage nor an ELF file");
    file[8] = 0;
    assert_eq!(why(&file), "kernel not decompressed: its lz4 data are damaged");
    file.extend([0xff; 4]);
    assert_eq!(why(&file), "kernel not decompressed: it claims to decompress to 4294967295 bytes");
    assert_eq!(frames::free_frames(), free);
}

/// The kernels that the build has fetched for its own tests.
fn distribution_kernels() -> Vec<PathBuf> {
    fn search(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kernel = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
            if kernel && path.is_file() {
                found.push(path);
            } else if depth > 0 && path.is_dir() {
                search(&path, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    search(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cache"), 4, &mut found);
    found
}

#[test]
fn distribution_kernels_are_opened_and_placed() {
    let _machine = machine();
    for path in distribution_kernels() {
        let file = fs::read(&path).unwrap();
        let image = Image::open(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let notes = &image.kernel().notes;
        assert!(notes.virtual_base == BASE && notes.list_address == Some(LIST) && notes.unmapped_ramdisk);
        let needs = layout::Needs { kernel: image.kernel(), ramdisk: Some(100_000), memory: 65536, has_rings: true };
        let layout = Layout::new(&needs).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!((16384..30000).contains(&layout.needed), "{}: {} frames", path.display(), layout.needed);
    }
}

#[test]
fn a_distribution_kernel_is_built() {
    let _machine = machine();
    let Some(path) = distribution_kernels().into_iter().find(|path| path.to_string_lossy().contains("cloud")) else {
        return;
    };
    let file = fs::read(&path).unwrap();
    let free = frames::free_frames();
    let image = open(&file);
    let domain = domain(6, 128 << 20);
    build(&domain, &image, Some(&[1; 100_000]), "console=hvc0").unwrap_or_else(|error| panic!("{error}"));
    let registers = *domain.vcpus()[0].parked().as_ref().unwrap().registers();
    assert!(registers.rip > BASE + (16 << 20) && registers.rsi > registers.rip);
    drop(image);
    release_memory(&domain);
    drop(domain);
    assert_eq!(frames::free_frames(), free);
}
