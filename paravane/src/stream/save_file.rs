//! What `xl restore` expects around the stream of `libxenguest`: the header of a save file with the
//! guest's configuration, and `libxl`'s records (`libxl-migration-stream.pandoc`).

/// `savefileheader_magic` of `xl`.
const MAGIC: &[u8; 32] = b"Xen saved domain, xl format\n \0 \r";
/// `SAVEFILE_BYTEORDER_VALUE`.
const BYTE_ORDER: u32 = 0x0102_0304;
/// `XL_MANDATORY_FLAG_JSON` and `XL_MANDATORY_FLAG_STREAMv2`.
const FLAGS: u32 = 3;
/// `RESTORE_STREAM_IDENT`, big-endian like the version and the options after it.
const LIBXL: &[u8; 8] = b"LibxlFmt";
/// `RESTORE_STREAM_VERSION`.
const LIBXL_VERSION: u32 = 2;
/// `REC_TYPE_LIBXC_CONTEXT`.
const LIBXC_CONTEXT: u32 = 1;

/// What comes before the stream. `configuration` is the guest's, as JSON.
pub fn head(configuration: &str) -> Vec<u8> {
    let with_end = u32::try_from(configuration.len() + 1).unwrap_or(u32::MAX);
    let mut head = MAGIC.to_vec();
    for number in [BYTE_ORDER, FLAGS, 0, with_end.saturating_add(4), with_end] {
        head.extend(number.to_le_bytes());
    }
    head.extend(configuration.as_bytes());
    head.push(0);
    head.extend(LIBXL);
    head.extend(LIBXL_VERSION.to_be_bytes());
    head.extend([0; 4]);
    head.extend(LIBXC_CONTEXT.to_le_bytes());
    head.extend([0; 4]);
    head
}

/// What comes after the stream of a PV guest: `REC_TYPE_END`, without a body.
pub const TAIL: [u8; 8] = [0; 8];
