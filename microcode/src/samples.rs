//! Files of microcode and archives with made-up contents, for tests and fuzz targets. No processor
//! would take them: real updates are encrypted and signed.

use std::format;
use std::vec::Vec;

use crate::{Maker, Processor, amd, intel};

/// An update to be written.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The revision.
    pub revision: u32,
    /// The processors for which it is: signature and, for Intel, platforms. Intel's first is in the
    /// header.
    pub processors: Vec<(u32, u32)>,
    /// The oldest revision from which it may be loaded late (Intel).
    pub minimum: u32,
    /// The size of the data behind the header, a multiple of four; for Intel, of the data and the
    /// table of further processors.
    pub size: usize,
}

impl Sample {
    /// An update of this revision for the processor.
    pub fn new(processor: &Processor, revision: u32) -> Self {
        let processors = [(processor.signature, processor.platform)].into();
        Self { revision, processors, minimum: 0, size: if processor.maker == Maker::Intel { 976 } else { 448 } }
    }

    /// The update in the format of a maker.
    pub fn file(&self, maker: Maker) -> Vec<u8> {
        match maker {
            Maker::Intel => self.intel(),
            Maker::Amd => self.amd(),
        }
    }

    /// The data begin with the revision, so that a simulated processor knows it.
    fn data(&self) -> Vec<u8> {
        let mut data = self.revision.to_le_bytes().to_vec();
        data.extend((4..self.size).map(|at| at.to_le_bytes()[0]));
        data
    }

    fn intel(&self) -> Vec<u8> {
        let Some(((signature, platforms), others)) = self.processors.split_first() else { return Vec::new() };
        let table = if others.is_empty() { 0 } else { 20 + 12 * others.len() };
        let data = self.size - table;
        let mut header = words(&[1, self.revision, DATE, *signature, 0, 1, *platforms]);
        header.extend(words(&[length(data), length(intel::HEADER + self.size), 0, self.minimum, 0]));
        let mut file = [header.as_slice(), &self.data()[..data]].concat();
        set_sum(&mut file, 16);
        if !others.is_empty() {
            let sum = read(&file, 12).wrapping_add(read(&file, 16)).wrapping_add(read(&file, 24));
            let mut table = words(&[length(others.len()), 0, 0, 0, 0]);
            for (signature, platforms) in others {
                table.extend(words(&[*signature, *platforms, sum.wrapping_sub(*signature).wrapping_sub(*platforms)]));
            }
            set_sum(&mut table, 4);
            file.extend(table);
        }
        file
    }

    /// A container with one update. Its number is the signature's lower half.
    fn amd(&self) -> Vec<u8> {
        let number = self.processors.first().map_or(0, |(signature, _)| *signature as u16);
        let mut table = Vec::new();
        for (signature, _) in self.processors.iter().chain([&(0, 0)]) {
            table.extend(words(&[*signature, 0, 0, if *signature == 0 { 0 } else { number.into() }]));
        }
        let mut update = words(&[DATE, self.revision, 0, 0, 0, 0, number.into()]);
        update.resize(amd::HEADER, 0);
        update.extend(self.data());
        let mut file = words(&[amd::MAGIC, amd::SECTION_TABLE, length(table.len())]);
        file.extend(table);
        file.extend(words(&[amd::SECTION_UPDATE, length(update.len())]));
        file.extend(update);
        file
    }
}

/// 18 July 1998, the date in Intel's manual.
const DATE: u32 = 0x0718_1998;

/// An early archive with the file of a maker.
pub fn archive(maker: Maker, file: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    for folder in ["kernel", "kernel/x86", "kernel/x86/microcode"] {
        member(&mut archive, folder, &[]);
    }
    member(&mut archive, maker.path(), file);
    member(&mut archive, "TRAILER!!!", &[]);
    archive
}

/// Appends a member to an archive.
pub fn member(archive: &mut Vec<u8>, path: &str, contents: &[u8]) {
    let fields = [1, 0o100_644, 0, 0, 1, 0, contents.len(), 0, 0, 0, 0, path.len() + 1, 0];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08X}").bytes());
    }
    archive.extend(path.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(contents);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn read(bytes: &[u8], at: usize) -> u32 {
    crate::bytes::u32_at(bytes, at).unwrap_or_default()
}

fn length(length: usize) -> u32 {
    length as u32
}

/// Sets the checksum at `at`, so that all numbers add up to zero.
pub fn set_sum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = crate::bytes::sum(bytes).wrapping_neg();
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}
