//! Streams that `libxenguest` could write come back byte for byte; all others are refused without
//! a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::compact::{Expander, MAX_ITEM, Pages, encode};
use super::record::{Item, Reader, kind};
use super::{MAX_BODY, PAGE, save_file};

/// Pages of the generated guests.
const PAGES: u64 = 4096;

/// The headers of a PV guest's stream.
fn headers() -> Item {
    let mut header = [0; 40];
    header[..8].fill(0xff);
    header[8..12].copy_from_slice(b"XENF");
    header[15] = 3;
    header[24] = 1;
    header[28] = 12;
    header[32] = 4;
    header[36] = 17;
    Item::Header(header)
}

fn record(kind: u32, body: Vec<u8>) -> Item {
    Item::Record { kind, body }
}

/// The list of the P2M's frames of a guest with this many pages.
fn p2m(pages: u64) -> Item {
    let mut body = vec![0; 4];
    body.extend(u32::try_from(pages - 1).expect("few pages").to_le_bytes());
    body.resize(8 + pages.div_ceil(512) as usize * 8, 7);
    record(kind::P2M_FRAMES, body)
}

/// A record of pages: number, type, and the byte that fills the page.
fn page_data(pages: &[(u64, u64, u8)]) -> Item {
    let mut body = (pages.len() as u64).to_le_bytes().to_vec();
    body.extend(pages.iter().flat_map(|&(number, kind, _)| (kind << 60 | number).to_le_bytes()));
    for &(_, _, fill) in pages.iter().filter(|(_, kind, _)| *kind < 13) {
        let end = body.len() + PAGE;
        body.resize(end, 0);
        body[end - 1] = fill;
    }
    record(kind::PAGE_DATA, body)
}

fn some_pages() -> impl Strategy<Value = Item> {
    let kinds = prop_oneof![Just(0), 1..=4_u64, 9..=15_u64];
    vec((0..PAGES, kinds, prop_oneof![Just(0), any::<u8>()]), 1..40).prop_map(|pages| page_data(&pages))
}

fn some_state() -> impl Strategy<Value = Item> {
    let kinds = prop_oneof![
        Just(kind::TSC_INFO),
        Just(kind::SHARED_INFO),
        Just(kind::VCPU_BASIC),
        Just(kind::VCPU_EXTENDED),
        Just(kind::VCPU_XSAVE),
        Just(kind::VCPU_MSRS)
    ];
    (kinds, vec(any::<u8>(), 0..200)).prop_map(|(kind, body)| record(kind, body))
}

/// The items of a whole stream.
fn some_stream() -> impl Strategy<Value = Vec<Item>> {
    (vec(any::<u8>(), 0..100), vec(prop_oneof![some_pages(), some_state()], 0..8)).prop_map(|(policy, contents)| {
        let mut items = vec![headers(), record(kind::PV_INFO, vec![8, 4, 0, 0, 0, 0, 0, 0])];
        items.extend([record(kind::CPUID_POLICY, policy), record(kind::STATIC_DATA_END, Vec::new()), p2m(PAGES)]);
        items.extend(contents);
        items.push(record(kind::END, Vec::new()));
        items
    })
}

fn written(items: &[Item]) -> Vec<u8> {
    let mut stream = Vec::new();
    items.iter().for_each(|item| item.write(&mut stream));
    stream
}

fn compact(items: &[Item]) -> (Vec<u8>, Pages) {
    let (mut compact, mut pages) = (Vec::new(), Pages::default());
    for item in items {
        let start = compact.len();
        encode(item, &mut compact, &mut pages).expect("a valid item");
        assert!(compact.len() - start <= MAX_ITEM, "an item is within its limit");
    }
    (compact, pages)
}

proptest! {
    #[test]
    fn a_stream_survives_any_division_and_the_compact_form(items in some_stream(), piece in 1..9000_usize) {
        let stream = written(&items);
        let mut reader = Reader::default();
        let mut read = Vec::new();
        for bytes in stream.chunks(piece) {
            reader.push(bytes);
            while let Some(item) = reader.next_item().expect("a valid stream") {
                read.push(item);
            }
        }
        prop_assert!(reader.is_empty());
        prop_assert_eq!(&read, &items);
        let (mut expander, mut back) = (Expander::new(PAGES), Vec::new());
        expander.expand(&compact(&items).0, &mut back).expect("a valid stream");
        prop_assert!(expander.has_ended());
        prop_assert!(back == stream);
    }

    #[test]
    fn damaged_streams_are_refused_or_stay_streams(
        items in some_stream(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, _) = compact(&items);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let mut stream = Vec::new();
        if Expander::new(PAGES).expand(&bytes, &mut stream).is_ok() {
            let mut reader = Reader::default();
            reader.push(&stream);
            while let Some(item) = reader.next_item().expect("what passes is a stream") {
                if let Item::Record { kind: kind::PAGE_DATA, body } = item {
                    prop_assert!(super::record::pages(&body).is_ok());
                }
            }
            prop_assert!(reader.is_empty());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Expander::new(PAGES).expand(&bytes, &mut Vec::new());
        let mut reader = Reader::default();
        reader.push(&bytes);
        while let Ok(Some(_)) = reader.next_item() {}
    }
}

#[test]
fn pages_of_zeros_are_not_sent() {
    let items = [page_data(&[(1, 0, 0), (2, 0, 9), (3, 15, 0), (4, 1, 0)])];
    let (bytes, pages) = compact(&items);
    assert_eq!(pages, Pages { sent: 1, zero: 2 });
    assert_eq!(bytes.len(), 8 + 4 + 4 * 8 + 1 + PAGE);
}

/// What the expander says of a stream that is valid up to the P2M and then has these items.
fn refusal(items: &[Item]) -> String {
    let mut all = vec![headers(), record(kind::PV_INFO, Vec::new()), record(kind::STATIC_DATA_END, Vec::new())];
    all.push(p2m(16));
    all.extend_from_slice(items);
    let expanded = Expander::new(16).expand(&compact(&all).0, &mut Vec::new());
    expanded.expect_err("it is refused").0
}

#[test]
fn what_no_stream_of_a_pv_guest_has_is_refused() {
    assert!(refusal(&[page_data(&[(16, 0, 1)])]).contains("not a page"));
    assert!(refusal(&[page_data(&[(1, 5, 1)])]).contains("not a page"));
    assert!(refusal(&[record(9, Vec::new())]).contains("kind 9"), "the context of HVM guests");
    assert!(refusal(&[p2m(16)]).contains("kind 3"), "the P2M does not change");
    assert!(refusal(&[record(kind::END, Vec::new()), record(kind::END, Vec::new())]).contains("phase End"));
    let mut expander = Expander::new(16);
    assert!(expander.expand(&compact(&[p2m(16)]).0, &mut Vec::new()).is_err(), "no headers");
    let mut other = headers();
    if let Item::Header(header) = &mut other {
        header[24] = 2;
    }
    assert!(Expander::new(16).expand(&compact(&[other]).0, &mut Vec::new()).is_err(), "an HVM guest");
    assert!(Expander::new(15).p2m_is_refused(), "a P2M beyond the guest's memory");
}

impl Expander {
    fn p2m_is_refused(&mut self) -> bool {
        let items = [headers(), record(kind::STATIC_DATA_END, Vec::new()), p2m(17)];
        self.expand(&compact(&items).0, &mut Vec::new()).is_err()
    }
}

#[test]
fn a_record_beyond_the_limit_is_refused_before_it_arrives() {
    let mut reader = Reader::default();
    reader.push(&written(&[headers()]));
    assert!(matches!(reader.next_item(), Ok(Some(Item::Header(_)))));
    let length = u32::try_from(MAX_BODY + 1).expect("a length");
    reader.push(&[kind::SHARED_INFO.to_le_bytes(), length.to_le_bytes()].concat());
    assert!(reader.next_item().is_err());
}

#[test]
fn a_save_file_has_the_layout_of_xl() {
    let head = save_file::head("{}");
    assert_eq!(head.len(), 32 + 16 + 4 + 3 + 16 + 8);
    assert_eq!(&head[..27], b"Xen saved domain, xl format");
    assert_eq!(&head[32..52], &[4, 3, 2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(&head[52..], b"{}\0LibxlFmt\0\0\0\x02\0\0\0\0\x01\0\0\0\0\0\0\0");
}
